"""KvPool: keys and values of tokens already read, in rows that sequences share (Kwon et al. 2023, vLLM)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


class KvPool:
    """A fixed number of rows; each holds the keys and values of one token in all layers, about 8 bytes a channel."""

    def __init__(self, rows: int, layers: int, kv_heads: int, head_dim: int) -> None:
        shape = (rows, kv_heads, head_dim)
        # np.empty: the operating system gives us the memory only when a row is first written
        self._keys = [np.empty(shape, np.float32) for _ in range(layers)]
        self._values = [np.empty(shape, np.float32) for _ in range(layers)]
        for array in (*self._keys, *self._values):
            array[0] = 0  # padding points to row 0; masks hide it, but it must be finite
        self._free = np.arange(rows - 1, 0, -1, dtype=np.int64)
        self._left = rows - 1

    @property
    def free(self) -> int:
        """Number of free rows."""
        return self._left

    def allocate(self, count: int) -> Rows:
        """Takes `count` free rows. The caller checks first that there are enough."""
        if count > self._left:
            raise RuntimeError(f"{count} rows asked for, {self._left} free")
        rows = self._free[self._left - count : self._left].copy()
        self._left -= count
        return rows

    def release(self, rows: Rows) -> None:
        """Makes rows free again."""
        self._free[self._left : self._left + rows.size] = rows
        self._left += rows.size

    def keys(self, layer: int) -> NDArray[np.float32]:
        """All keys of a layer [row * kv_heads + head, head_dim]; not a copy."""
        return self._keys[layer].reshape(-1, self._keys[layer].shape[-1])

    def values(self, layer: int) -> NDArray[np.float32]:
        """All values of a layer, like `keys`."""
        return self._values[layer].reshape(-1, self._values[layer].shape[-1])

    def write(self, rows: Rows, layer: int, keys: NDArray[np.float32], values: NDArray[np.float32]) -> None:
        """Stores keys and values [token, kv_heads * head_dim] of the tokens in these rows."""
        shape = (rows.size, *self._keys[layer].shape[1:])
        self._keys[layer][rows] = keys.reshape(shape)
        self._values[layer][rows] = values.reshape(shape)
