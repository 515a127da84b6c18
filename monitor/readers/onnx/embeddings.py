"""Embeddings: the rows that tokens bring into a graph, made from the model's own table when a token first comes up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.errors import ConfigError
from monitor.model.narrow import widened

TABLE = "embeddings.npy"
SCALES = "embedding_scales.npy"  # only of a table in int8


@dataclass(frozen=True)
class EmbeddingTable:
    """The table [vocabulary, d_model] of a model in few bytes.

    `values` are float32, float16, the bits of bfloat16 in uint16, or int8. Of int8, `scales` [vocabulary, block] are
    the factors of as many equal parts of each row (Q8_0 of GGUF).
    """

    values: NDArray[Any]
    scales: NDArray[np.float16] | None = None

    def rows(self, tokens: NDArray[np.int32]) -> NDArray[np.float32]:
        """The rows [token, d_model] of these tokens."""
        if self.scales is None:
            return widened(self.values[tokens])
        scales = self.scales[tokens].astype(np.float32)
        blocks = self.values[tokens].reshape(*scales.shape, -1) * scales[:, :, None]
        return blocks.reshape(tokens.size, -1).astype(np.float32, copy=False)

    def save(self, folder: Path) -> None:
        """Writes TABLE and, for int8, SCALES."""
        np.save(folder / TABLE, self.values, allow_pickle=False)
        if self.scales is not None:
            np.save(folder / SCALES, self.scales, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> EmbeddingTable:
        """Maps the files of a folder into memory. Raises ConfigError if they hold something else."""
        try:
            values = np.load(folder / TABLE, mmap_mode="r", allow_pickle=False)
            scales = np.load(folder / SCALES, mmap_mode="r", allow_pickle=False) if values.dtype == np.int8 else None
        except (OSError, ValueError) as e:
            raise ConfigError(f"{folder / TABLE}: cannot be read: {e}") from None
        return cls(values, scales)


class Embeddings:
    """`table` as a graph takes it: times `scale`, and rotated by `turn` [d_model, d_model] if there is one.

    Rows are kept once they are made. Memory grows with the tokens that really occur, up to the whole table in float32.
    """

    def __init__(self, table: EmbeddingTable, scale: float = 1.0, turn: NDArray[np.float32] | None = None) -> None:
        self._table = table
        self._scale = np.float32(scale)
        self._turn = turn
        shape = table.values.shape
        self._rows = np.empty(shape, np.float32)  # the operating system gives memory only for rows that are written
        self._made = np.zeros(shape[0], np.bool_)

    @property
    def vocabulary(self) -> int:
        """Tokens that have a row."""
        return self._made.size

    def __getitem__(self, tokens: NDArray[np.int32]) -> NDArray[np.float32]:
        """The rows [token, d_model] of these tokens."""
        missing = np.unique(tokens[~self._made[tokens]])
        if missing.size:
            rows = self._table.rows(missing) * self._scale
            self._rows[missing] = rows if self._turn is None else rows @ self._turn
            self._made[missing] = True
        found: NDArray[np.float32] = self._rows[tokens]
        return found
