"""PackedReader: residual streams at one or several layers, of packed rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from monitor.errors import ConfigError
from monitor.lab.sae_training.packing import PackedRow
from monitor.machine import usable_cores
from monitor.readers.torch_reader import load_prefix, usable_device

Precision = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Residuals:
    """What was read of some rows.

    `by_layer` maps a layer to [token, d] on the CPU, in the model's precision, one row for each True of
    `kept` [row, token], in order. `massive` tokens were left out because of their norm.
    """

    by_layer: dict[int, Tensor]
    kept: Tensor
    massive: int

    @classmethod
    def joined(cls, parts: Sequence[Residuals]) -> Residuals:
        """Several readings, one below the other."""
        return cls(
            {layer: torch.cat([p.by_layer[layer] for p in parts]) for layer in parts[0].by_layer},
            torch.cat([p.kept for p in parts]),
            sum(p.massive for p in parts),
        )


class PackedReader:
    """Reads rows with the model cut after the deepest layer. No piece of a row sees another.

    A token whose residual is longer than `max_norm` at any of the layers is left out at all of them, so that rows of
    different layers stay the same tokens.
    """

    def __init__(
        self,
        folder: Path,
        layers: Sequence[int],
        *,
        precision: Precision = "bfloat16",
        device: str = "cpu",
        batch_rows: int = 16,
        max_norm: float | None = None,
        threads: int = 0,
    ) -> None:
        """`folder` is in transformers layout. Raises ConfigError where it cannot be loaded or lacks a layer."""
        if not layers or min(layers) < 0 or len(set(layers)) < len(layers):
            raise ConfigError(f"--layers: {list(layers)}: expected different numbers from 0")
        if device == "cpu":
            torch.set_num_threads(threads or usable_cores())
        self._device = usable_device(device)
        self.batch_rows = batch_rows
        self._max_norm = max_norm
        model, blocks, self.max_tokens = load_prefix(folder, max(layers), getattr(torch, precision), self._device)
        self.layers = tuple(layers)
        self._model: Any = model
        config: Any = model.config  # transformers types its own attributes as Tensor | Module
        self.d_model = int(config.get_text_config().hidden_size)
        self._found: dict[int, Tensor] = {}
        for layer in layers:
            blocks[layer].register_forward_hook(self._keep(layer))

    def check_context(self, context: int) -> None:
        """Raises ConfigError where rows of `context` tokens are longer than what the model was built for."""
        if self.max_tokens is not None and context > self.max_tokens:
            raise ConfigError(f"--context: {context}: the model reads at most {self.max_tokens} tokens")

    def read(self, rows: Sequence[PackedRow]) -> Residuals:
        """The residuals of the tokens that count, in the order of `rows`."""
        return Residuals.joined(
            [self._batch(rows[n : n + self.batch_rows]) for n in range(0, len(rows), self.batch_rows)]
        )

    @torch.inference_mode()
    def _batch(self, rows: Sequence[PackedRow]) -> Residuals:
        ids, positions, counts = stacked(rows, self._device)
        # transformers keeps apart what restarts its positions, if there is neither a mask nor a cache
        self._model(input_ids=ids, position_ids=positions, use_cache=False)
        found = {layer: self._found.pop(layer) for layer in self.layers}  # [row, token, d]
        kept = counts
        if self._max_norm is not None:
            for residual in found.values():
                kept = kept & (residual.float().norm(dim=2) <= self._max_norm)
        return Residuals(
            {layer: residual[kept].cpu() for layer, residual in found.items()},
            kept.cpu(),
            int(counts.sum() - kept.sum()),
        )

    def _keep(self, layer: int) -> Callable[[Any, Any, Any], None]:
        def hook(_module: Any, _inputs: Any, output: Any) -> None:
            self._found[layer] = output[0] if isinstance(output, tuple) else output

        return hook


def stacked(rows: Sequence[PackedRow], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids, positions and which tokens count, each [row, token]."""
    ids = torch.from_numpy(np.stack([row.ids for row in rows]).astype(np.int64)).to(device)
    positions = torch.from_numpy(np.stack([row.positions for row in rows]).astype(np.int64)).to(device)
    return ids, positions, torch.from_numpy(np.stack([row.kept for row in rows])).to(device)
