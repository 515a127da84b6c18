"""The torch reader whose columns are the residual stream itself."""

from __future__ import annotations

from pathlib import Path

from monitor.config.sections import Config
from monitor.readers.torch_reader import TorchReader


def residual_reader(config: Config, folder: Path, layer: int) -> TorchReader:
    """Reads the residual stream [token, d_model] after block `layer` of the model in `folder`, as the config says."""
    settings = config.reader
    return TorchReader(
        folder,
        layer,
        lambda residual: residual,
        device=settings.device,
        dtype=settings.dtype,
        batch_tokens=settings.batch_size,
        threads=settings.threads,
    )
