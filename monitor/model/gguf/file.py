"""GgufFile: the metadata and the tensors of a GGUF file, mapped into memory.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The gguf package reads it too, but makes
a numpy array of every string: docs/decisions/0007-own-gguf-metadata-parser.md has figures.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from numpy.typing import NDArray

from monitor.model.gguf.split import gguf_parts

_VERSIONS = (2, 3)
_STRING, _ARRAY = 8, 9
_NUMBERS: dict[int, np.dtype[Any]] = {
    0: np.dtype("u1"),
    1: np.dtype("i1"),
    2: np.dtype("<u2"),
    3: np.dtype("<i2"),
    4: np.dtype("<u4"),
    5: np.dtype("<i4"),
    6: np.dtype("<f4"),
    7: np.dtype("?"),
    10: np.dtype("<u8"),
    11: np.dtype("<i8"),
    12: np.dtype("<f8"),
}


@dataclass(frozen=True)
class GgufTensor:
    """A tensor as it is in the file: `shape` with rows first, `data` [row, byte] of blocks in the format `kind`."""

    name: str
    shape: tuple[int, ...]
    kind: GGMLQuantizationType
    data: NDArray[np.uint8]


class GgufFile:
    """Typed access to the metadata, and tensors by name. Every error is a ValueError that names the key."""

    def __init__(self, metadata: Mapping[str, Any], tensors: Mapping[str, GgufTensor]) -> None:
        self._metadata = metadata
        self.tensors = tensors

    @classmethod
    def open(cls, path: Path) -> GgufFile:
        """Reads the metadata; tensors stay on disk until they are used. Raises ValueError, OSError or ConfigError.

        Of a model that was split into several files, the first one has the metadata, and all of them have tensors.
        """
        metadata: dict[str, Any] = {}
        tensors: dict[str, GgufTensor] = {}
        for part in gguf_parts(path):
            try:
                found, more = _parse(_Cursor(np.memmap(part, dtype=np.uint8, mode="r")))
            except (struct.error, IndexError):
                raise ValueError("the file is truncated, or not a GGUF") from None
            metadata, tensors = {**found, **metadata}, {**tensors, **more}
        if tensors and len(tensors) != metadata.get("split.tensors.count", len(tensors)):
            raise ValueError(
                f"split.tensors.count: {metadata['split.tensors.count']}, but there are {len(tensors)} tensors; the "
                "names of split files end in -00001-of-00002.gguf and the like"
            )
        return cls(metadata, tensors)

    @property
    def architecture(self) -> str:
        """general.architecture; most other keys begin with it."""
        return self.text("general.architecture")

    def has(self, key: str) -> bool:
        """Whether the metadata has `key`."""
        return key in self._metadata

    def count(self, key: str, default: int | None = None) -> int:
        """A whole number that is not negative."""
        value = self._metadata.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise _unexpected(key, "a whole number", value)
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A number, whole or not."""
        value = self._metadata.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _unexpected(key, "a number", value)
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self._metadata.get(key, default)
        if not isinstance(value, bool):
            raise _unexpected(key, "true or false", value)
        return value

    def text(self, key: str, default: str | None = None) -> str:
        """A string."""
        value = self._metadata.get(key, default)
        if not isinstance(value, str):
            raise _unexpected(key, "text", value)
        return value

    def array(self, key: str) -> list[Any]:
        """Strings, numbers or booleans."""
        value = self._metadata.get(key)
        if not isinstance(value, list):
            raise _unexpected(key, "an array", value)
        return value

    def is_array(self, key: str) -> bool:
        """Whether `key` has an array for its value."""
        return isinstance(self._metadata.get(key), list)


def _unexpected(key: str, expected: str, value: object) -> ValueError:
    found = "nothing" if value is None else "an array" if isinstance(value, list) else repr(value)
    return ValueError(f"{key}: expected {expected}, got {found}")


class _Cursor:
    """Reads little-endian values one after another."""

    def __init__(self, buffer: NDArray[np.uint8]) -> None:
        self.buffer = buffer
        self._bytes = buffer.data
        self.at = 0

    def integers(self, form: str) -> tuple[int, ...]:
        values = struct.unpack_from("<" + form, self._bytes, self.at)
        self.at += struct.calcsize("<" + form)
        return values

    def string(self) -> str:
        (size,) = struct.unpack_from("<Q", self._bytes, self.at)
        start = self.at + 8
        if size > len(self._bytes) - start:
            raise IndexError(size)
        self.at = start + size
        return str(self._bytes[start : self.at], "utf-8")

    def numbers(self, dtype: np.dtype[Any], count: int) -> list[Any]:
        end = self.at + count * dtype.itemsize
        if end > len(self._bytes):
            raise IndexError(count)
        values: list[Any] = np.frombuffer(self._bytes[self.at : end], dtype).tolist()
        self.at = end
        return values

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            inner, count = self.integers("IQ")
            if inner in _NUMBERS:
                return self.numbers(_NUMBERS[inner], count)
            if inner != _STRING:
                raise ValueError(f"an array of values of type {inner}, which is not read")
            return [self.value(inner) for _ in range(count)]
        if kind not in _NUMBERS:
            raise ValueError(f"a value of type {kind}, which GGUF does not know")
        return self.numbers(_NUMBERS[kind], 1)[0]


def _parse(cursor: _Cursor) -> tuple[dict[str, Any], dict[str, GgufTensor]]:
    if bytes(cursor.buffer[:4]) != b"GGUF":
        raise ValueError("not a GGUF: it does not begin with these letters")
    cursor.at = 4
    (version,) = cursor.integers("I")
    if version not in _VERSIONS:
        raise ValueError(
            f"GGUF version {version}; {' and '.join(map(str, _VERSIONS))} are read, in little-endian order"
        )
    tensors, pairs = cursor.integers("QQ")
    metadata = {}
    for _ in range(pairs):
        key = cursor.string()
        metadata[key] = cursor.value(*cursor.integers("I"))
    infos = []
    for _ in range(tensors):
        name = cursor.string()
        (dimensions,) = cursor.integers("I")
        shape = cursor.integers(f"{dimensions}Q")[::-1]
        kind, offset = cursor.integers("IQ")
        infos.append((name, shape, kind, offset))
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment <= 0:
        raise ValueError(f"general.alignment: expected a positive whole number, got {alignment!r}")
    start = -(-cursor.at // alignment) * alignment
    return metadata, {name: _tensor(cursor.buffer, name, shape, kind, start + at) for name, shape, kind, at in infos}


def _tensor(buffer: NDArray[np.uint8], name: str, shape: tuple[int, ...], kind: int, start: int) -> GgufTensor:
    try:
        block_values, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
    except (ValueError, KeyError):
        raise ValueError(f"{name}: its number format {kind} is not known to the installed gguf package") from None
    if not shape or 0 in shape:
        raise ValueError(f"{name}: a tensor without values")
    width = shape[-1]
    if width % block_values:
        raise ValueError(f"{name}: {width} values do not fill blocks of {block_values}")
    rows = int(np.prod(shape[:-1], dtype=np.int64))
    row_bytes = width // block_values * block_bytes
    data = buffer[start : start + rows * row_bytes]
    if data.size != rows * row_bytes:
        raise ValueError(f"{name}: the file is cut short")
    return GgufTensor(name, shape, GGMLQuantizationType(kind), np.asarray(data).reshape(rows, row_bytes))
