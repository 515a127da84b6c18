"""ReadableRecords: the records of one fetched partition, with an UnreadRange in the place of each damaged batch."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import chain
from typing import Any

from kafka import TopicPartition, errors
from kafka.consumer.fetcher import ConsumerRecord, Fetcher
from kafka.record.default_records import DefaultRecordBatch
from kafka.record.legacy_records import LegacyRecordBatch

from monitor.events.unread_range import UnreadKind, UnreadRange
from monitor.kafka import decompress
from monitor.kafka.decompress import TooLargeUnpacked, decompressed

BATCH_PREFIX = struct.Struct(">qi")  # base offset, length of what follows
_MAGIC_AT = 16
_CODECS = {1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}


def is_framed(data: Any) -> bool:
    """Whether a whole batch stands at the start of `data`, by its length and the least that its format has."""
    if len(data) <= _MAGIC_AT:
        return False
    size = BATCH_PREFIX.size + BATCH_PREFIX.unpack_from(data)[1]
    least = DefaultRecordBatch.HEADER_STRUCT.size if data[_MAGIC_AT] >= 2 else LegacyRecordBatch.RECORD_OVERHEAD_V0
    return bool(least <= size <= len(data))


class _Text(bytearray):
    """Bytes of which every slice decodes: a byte that is not UTF-8 becomes text such as `\\xff`."""

    def __getitem__(self, at: Any) -> Any:
        found = super().__getitem__(at)
        return _Text(found) if isinstance(found, bytearray) else found

    def decode(self, encoding: str = "utf-8", errors: str = "backslashreplace") -> str:  # noqa: ARG002
        return super().decode(encoding, "backslashreplace")


class _Batch(DefaultRecordBatch):  # type: ignore[misc]
    """A batch of message format 2 that unpacks with a limit and reads header names that are not UTF-8."""

    intact = True
    _buffer: bytearray
    _pos: int
    _decompressed: bool

    def validate_crc(self) -> bool:
        self.intact = bool(super().validate_crc())
        return self.intact

    def _maybe_uncompress(self) -> None:
        codec = self.compression_type
        if not self._decompressed and (found := decompressed(codec, bytes(self._buffer[self._pos :]))) is not None:
            self._buffer, self._pos, self._decompressed = bytearray(found), 0, True
        super()._maybe_uncompress()

    def _read_msg(self) -> Any:
        try:
            return super()._read_msg()
        except UnicodeDecodeError:
            self._buffer = _Text(self._buffer)
            return super()._read_msg()


class _Batches:
    """The batches of one fetch, one after the other; knows which offsets belong to the last one."""

    def __init__(self, records: Any) -> None:
        self._records = records
        self._raw = b""
        self._batch: Any = None

    def next_batch(self) -> Any:
        """The next batch, or None. Raises whatever a header does that makes no sense."""
        raw = self._records._next_slice
        if raw is None or not is_framed(raw):
            # a length that makes no sense hides where the next batch begins: the next fetch starts here
            return None
        self._raw, self._batch = bytes(raw[: DefaultRecordBatch.HEADER_STRUCT.size]), None
        self._records._cache_next()
        magic = self._raw[_MAGIC_AT]
        self._batch = _Batch(raw) if magic >= 2 else LegacyRecordBatch(raw, magic)
        return self._batch

    def last_offset(self, first: int, log_end: int) -> int:
        """The last offset of the last batch. If its header may be damaged too, something from `first` to the end."""
        # formats 0 and 1 name the last offset, not the first
        last = self._batch.last_offset if isinstance(self._batch, _Batch) else BATCH_PREFIX.unpack_from(self._raw)[0]
        if isinstance(self._batch, LegacyRecordBatch) or self._batch.intact:
            return int(last)
        following = self._records._next_slice
        if following is not None and first < (next_base := BATCH_PREFIX.unpack_from(following)[0]) < log_end:
            return int(next_base) - 1
        return int(last) if first <= last < log_end else first

    @property
    def base_offset(self) -> int:
        """The first offset of the last batch, as far as its format tells."""
        return int(BATCH_PREFIX.unpack_from(self._raw)[0]) if self._raw and self._raw[_MAGIC_AT] >= 2 else 0

    def reason(self, error: Exception) -> tuple[UnreadKind, str]:
        """Why the last batch could not be read."""
        number = 0 if self._batch is None else self._batch.compression_type
        codec = _CODECS.get(number, f"number {number}")
        if isinstance(error, errors.UnsupportedCodecError):
            known = "not installed" if number in _CODECS else "unknown"
            return "codec", f"the compression codec {codec} is {known}"
        if isinstance(error, TooLargeUnpacked):
            return "size", f"the batch ({codec}) holds more than {decompress.MAX_BYTES} bytes when unpacked"
        if isinstance(self._batch, _Batch) and not self._batch.intact:
            return "corrupt", "the checksum of the batch does not match"
        told = " ".join(str(error).split()) or type(error).__name__
        packed = f" ({codec})" if number else ""
        return "corrupt", f"the batch{packed} cannot be decoded: {told[:300]}"


class ReadableRecords(Fetcher.PartitionRecords):  # type: ignore[misc]
    """Replaces kafka-python's own class, which stops at the first batch that it cannot decode and never moves on."""

    next_fetch_offset: int
    record_iterator: Iterator[Any] | None

    def __init__(
        self,
        before: UnreadRange | None,
        log_end: int,
        fetch_offset: int,
        tp: TopicPartition,
        *args: Any,
        **more: Any,
    ) -> None:
        """`before` is handed out first; the rest is what kafka-python gives."""
        self._log_end = log_end
        super().__init__(fetch_offset, tp, *args, **more)
        if before is not None:
            self.record_iterator = chain([_placeholder(before)], self.record_iterator or ())

    def _unpack_records(self, tp: TopicPartition, records: Any, *deserializers: Any) -> Iterator[Any]:
        batches = _Batches(records)
        while True:
            try:
                yield from super()._unpack_records(tp, batches, *deserializers)
            except Exception as e:  # noqa: BLE001 - each codec has its own errors, and damage can cause any other
                first = max(self.fetch_offset, self.next_fetch_offset, batches.base_offset)
                last = batches.last_offset(first, self._log_end)
                # an epoch that does not fit the position would send the consumer back
                self.leader_epoch = -1
                if last >= first:
                    self.next_fetch_offset = last + 1
                    yield _placeholder(UnreadRange(tp.topic, tp.partition, first, last, *batches.reason(e)))
            else:
                return


def _placeholder(unread: UnreadRange) -> Any:
    """A record whose value is the range, so that it keeps its place among the records."""
    empty = ConsumerRecord(*[None] * len(ConsumerRecord._fields))
    return empty._replace(
        topic=unread.topic, partition=unread.partition, leader_epoch=-1, offset=unread.last_offset, value=unread
    )
