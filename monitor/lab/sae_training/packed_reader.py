"""PackedReader: residual streams at one or several layers, of packed rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from monitor.errors import ConfigError
from monitor.lab.sae_training.packing import PackedRow
from monitor.readers.cut_model import CutModel, TorchPrecision


@dataclass(frozen=True)
class Residuals:
    """The residual stream of some rows.

    `by_layer` maps a layer to [token, d] on the CPU, in the model's precision, one row for each True of
    `kept` [row, token], in order. `massive` tokens were skipped because of their norm.
    """

    by_layer: dict[int, Tensor]
    kept: Tensor
    massive: int

    @classmethod
    def joined(cls, parts: Sequence[Residuals]) -> Residuals:
        """Several results, one after the other."""
        return cls(
            {layer: torch.cat([p.by_layer[layer] for p in parts]) for layer in parts[0].by_layer},
            torch.cat([p.kept for p in parts]),
            sum(p.massive for p in parts),
        )


class PackedReader:
    """Reads rows with the model cut after the deepest layer. No piece of a row sees another.

    A token whose residual is longer than `max_norm` at any of the layers is skipped at all of them, so that the rows
    of all layers are the same tokens.
    """

    def __init__(
        self,
        folder: Path,
        layers: Sequence[int],
        *,
        precision: TorchPrecision = "bfloat16",
        device: str = "cpu",
        batch_rows: int = 16,
        max_norm: float | None = None,
        threads: int = 0,
    ) -> None:
        """`folder` is in transformers layout. Raises ConfigError if it can't be loaded or lacks a layer."""
        if not layers or min(layers) < 0 or len(set(layers)) < len(layers):
            raise ConfigError(f"--layers: {list(layers)}: expected different numbers from 0")
        self.batch_rows = batch_rows
        self._max_norm = max_norm
        self._model = CutModel(folder, layers, precision=precision, device=device, threads=threads)
        self.layers = self._model.layers
        self.max_tokens = self._model.max_tokens
        self.d_model = self._model.d_model

    def check_context(self, context: int) -> None:
        """Raises ConfigError if rows of `context` tokens are longer than the model's context."""
        if self.max_tokens is not None and context > self.max_tokens:
            raise ConfigError(f"--context: {context}: the model reads at most {self.max_tokens} tokens")

    def read(self, rows: Sequence[PackedRow]) -> Residuals:
        """The residuals of the tokens that count, in the order of `rows`."""
        return Residuals.joined(
            [self._batch(rows[n : n + self.batch_rows]) for n in range(0, len(rows), self.batch_rows)]
        )

    @torch.inference_mode()
    def _batch(self, rows: Sequence[PackedRow]) -> Residuals:
        ids, positions, counts = stacked(rows, self._model.device)
        # without a mask and a cache, transformers separates pieces where the positions start again
        found = self._model.residuals(ids, position_ids=positions, use_cache=False)  # [row, token, d]
        kept = counts
        if self._max_norm is not None:
            for residual in found.values():
                kept = kept & (residual.float().norm(dim=2) <= self._max_norm)
        return Residuals(
            {layer: residual[kept].cpu() for layer, residual in found.items()},
            kept.cpu(),
            int(counts.sum() - kept.sum()),
        )


def stacked(rows: Sequence[PackedRow], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids, positions and which tokens count, each [row, token]."""
    ids = torch.from_numpy(np.stack([row.ids for row in rows]).astype(np.int64)).to(device)
    positions = torch.from_numpy(np.stack([row.positions for row in rows]).astype(np.int64)).to(device)
    return ids, positions, torch.from_numpy(np.stack([row.kept for row in rows])).to(device)
