"""Compression: files by their first bytes, decompressed while they are read, or refused with what to do."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from typing import BinaryIO, cast

import zstandard

from monitor.errors import ConfigError

PARQUET = b"PAR1"
_GZIP, _ZSTANDARD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
# what is not read, and what to do about it
_HINTS = {
    b"BZh": "is compressed with bzip2: decompress it with bunzip2",
    b"\xfd7zXZ\x00": "is compressed with xz: decompress it with unxz",
    b"PK\x03\x04": "is a zip archive: unpack it with unzip",
    b"Obj\x01": "is an Avro file: convert it to lines of JSON, for example with avro-tools tojson",
    b"ORC": "is an ORC file: convert it to Parquet or to lines of JSON",
    b"ARROW1": "is an Arrow file: convert it to Parquet",
}
_START_BYTES = 8
_MAX_WINDOW_BYTES = 128 * 1024 * 1024
"""Memory for a frame of Zstandard; the `zstd` command has the same limit."""
_INPUT_BYTES = 1024
"""Compressed bytes taken at once: even if each byte stands for thousands, what comes out fits into memory."""
DAMAGE = (EOFError, OSError, zlib.error, zstandard.ZstdError)
"""What reading a damaged file raises."""


def starts_with(file: io.BufferedReader, magic: bytes) -> bool:
    """Whether the next bytes are `magic`; they are still there afterwards."""
    return file.peek(_START_BYTES).startswith(magic)


def decompressed(file: io.BufferedReader, name: str) -> BinaryIO:
    """`file`, decompressed if it has to be. Raises ConfigError if it is of a kind that is not read."""
    for magic, hint in _HINTS.items():
        if starts_with(file, magic):
            raise ConfigError(f"{name}: {hint}")
    if starts_with(file, _GZIP):
        return cast("BinaryIO", gzip.GzipFile(fileobj=file))
    if starts_with(file, _ZSTANDARD):
        return io.BufferedReader(_Pieces(_zstandard(file)))
    return file


def _zstandard(file: io.BufferedReader) -> Iterator[bytes]:
    """What the frames hold. zstandard's own reader takes a file that breaks off for a whole one."""
    frames = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES)
    frame, fed = frames.decompressobj(), False
    while piece := file.read(_INPUT_BYTES):
        while piece:
            yield frame.decompress(piece)
            fed, piece = not frame.eof, frame.unused_data if frame.eof else b""
            if frame.eof:
                frame = frames.decompressobj()
    if fed:
        raise EOFError("the file ends inside of a frame")


class _Pieces(io.RawIOBase):
    """A file made of pieces."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, into: memoryview) -> int:  # type: ignore[override]
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left = memoryview(piece)
        n = min(len(into), len(self._left))
        into[:n] = self._left[:n]
        self._left = self._left[n:]
        return n
