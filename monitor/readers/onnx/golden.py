"""Golden: activations of a few texts as they were where a bundle was compiled, to be met wherever it is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from monitor.errors import ConfigError
from monitor.readers.onnx.reader import OnnxReader
from monitor.readers.onnx.sparse import Compact


@dataclass(frozen=True)
class Golden:
    """`tokens` [token] of all texts one after the other, `lengths` [text], and what the graph handed out for them.

    `columns` are SAE latents for TopK, else None; see Compact.
    """

    tokens: NDArray[np.int32]
    lengths: NDArray[np.int64]
    values: NDArray[np.float32]
    columns: NDArray[np.int64] | None

    @classmethod
    def read(cls, reader: OnnxReader, texts: Sequence[NDArray[np.int32]]) -> Golden:
        """What `reader` makes of `texts` now."""
        read = [reader.raw(text) for text in texts]
        columns = [latents for _, latents in read if latents is not None]
        return cls(
            np.concatenate(texts),
            np.array([text.size for text in texts]),
            np.concatenate([values for values, _ in read]),
            np.concatenate(columns) if columns else None,
        )

    @classmethod
    def load(cls, path: Path) -> Golden:
        """From safetensors. Raises ConfigError where it cannot be read."""
        tensors = load_tensors(path)
        return cls(tensors["tokens"], tensors["lengths"], tensors["values"], tensors.get("columns"))

    def save(self, path: Path) -> None:
        """Writes safetensors."""
        tensors: dict[str, NDArray[Any]] = {"tokens": self.tokens, "lengths": self.lengths, "values": self.values}
        save_file(tensors if self.columns is None else tensors | {"columns": self.columns}, path)

    def difference(self, reader: OnnxReader) -> float:
        """How far `reader` is from these activations, as a share of their size, in the columns that it has."""
        now = Golden.read(reader, np.split(self.tokens, np.cumsum(self.lengths)[:-1]))
        expected, found = (reader.columns_of(Compact(g.values, g.columns)) for g in (self, now))
        size = float(np.linalg.norm(expected))
        difference = float(np.linalg.norm(found - expected))
        return difference / size if size > 0 else difference


def load_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """All tensors of a safetensors file. Raises ConfigError where it cannot be read."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as e:
        raise ConfigError(f"{path}: not readable as safetensors: {e}") from None
