"""LogSegment: the batches of a partition in the file that a running Apache Kafka serves them from."""

from __future__ import annotations

import struct

from crc32c import crc32c

from tests.brokers import ApacheKafka

_LENGTH_AT, _CRC_AT, _ATTRIBUTES_AT, _RECORDS_AT = 8, 17, 21, 61


class LogSegment:
    """Edits batches in place. A broker sends what is on the disk as it is, so that a consumer gets the damage.

    Source of the layout: Kafka's message format, record batch of version 2.
    """

    ATTRIBUTES = _ATTRIBUTES_AT
    LENGTH = _LENGTH_AT
    RECORDS = _RECORDS_AT

    def __init__(self, broker: ApacheKafka, topic: str, partition: int = 0) -> None:
        self._path = broker.data_folder / f"{topic}-{partition}" / f"{0:020d}.log"

    def batches(self) -> list[tuple[int, int]]:
        """Position and length of each batch."""
        data, at, found = self._path.read_bytes(), 0, []
        while at + _RECORDS_AT <= len(data):
            (length,) = struct.unpack_from(">i", data, at + _LENGTH_AT)
            found.append((at, 12 + length))
            at += 12 + length
        return found

    def base_offsets(self) -> list[int]:
        """The first offset of each batch."""
        data = self._path.read_bytes()
        return [struct.unpack_from(">q", data, at)[0] for at, _ in self.batches()]

    def overwrite(self, batch: int, at: int, new: bytes, keep_crc: bool = False) -> None:
        """Writes `new` over the bytes of a batch from `at` on; the CRC is made to fit, unless told to keep the old."""
        start, length = self.batches()[batch]
        with self._path.open("r+b") as file:
            file.seek(start)
            data = bytearray(file.read(length))
            data[at : at + len(new)] = new
            if not keep_crc:
                struct.pack_into(">I", data, _CRC_AT, crc32c(bytes(data[_ATTRIBUTES_AT:])))
            file.seek(start)
            file.write(data[:length])
