"""The torch reader whose columns are the activations at the hook point themselves."""

from __future__ import annotations

from pathlib import Path

from detectors.feature_set import HookName, ReaderRef
from monitor.config.sections import Config
from monitor.readers.torch_reader import TorchReader


def residual_reader(config: Config, folder: Path, layer: int, hook: HookName = "resid_post") -> TorchReader:
    """Reads the activations [token, d_model] at a hook point of the model in `folder`, as the config says."""
    settings = config.reader
    return TorchReader(
        folder,
        layer,
        lambda residual: residual,
        device=settings.device,
        dtype=settings.dtype,
        batch_tokens=settings.batch_size,
        threads=settings.threads,
        hook=hook,
    )


def hook_key(ref: ReaderRef) -> str:
    """The hook point as a part of the names of cached activations; that of a block's output is its number alone."""
    return str(ref.layer) if ref.hook == "resid_post" else f"{ref.layer}.{ref.hook}"
