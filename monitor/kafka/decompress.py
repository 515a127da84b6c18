"""decompressed: the records of a compressed batch, of which a few kilobytes may stand for gigabytes."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Mapping
from typing import Any

import lz4.frame
import zstandard

MAX_BYTES = 128 * 1024 * 1024
"""Far above what producers put into a batch, and what a small pod can hold."""


class TooLargeUnpacked(Exception):
    """More than MAX_BYTES come out of a batch."""


def _zstd(data: io.BytesIO) -> Any:
    return zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True)


# by the number in the attributes of a batch; snappy is not here, because it cannot grow by more than about 20
_READERS: Mapping[int, Callable[[io.BytesIO], Any]] = {
    1: lambda data: gzip.GzipFile(fileobj=data),
    3: lz4.frame.open,
    4: _zstd,
}


def decompressed(codec: int, data: bytes) -> bytes | None:
    """`data` unpacked, or None for a codec that is left to the client.

    Raises TooLargeUnpacked, and for damaged data whatever the codec raises.
    """
    if codec not in _READERS:
        return None
    with _READERS[codec](io.BytesIO(data)) as reader:
        found: bytes = reader.read(MAX_BYTES + 1)
    if len(found) > MAX_BYTES:
        raise TooLargeUnpacked
    return found
