"""UnreadRanges: a consumer that steps over what it cannot read instead of stopping there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kafka import KafkaConsumer, TopicPartition, errors

from monitor.events.unread_range import UnreadRange
from monitor.kafka.readable_batches import BATCH_PREFIX, ReadableRecords, is_framed

_END_TIMEOUT_MS = 5_000


@dataclass
class _Search:
    """Looks for the first offset after damage that a broker can send: steps that double, then halves."""

    first: int
    end: int
    failed: int
    works: int | None = None
    asked: int = -1

    def next_offset(self) -> int | None:
        """Where to try; None when the offset asked for last is the one."""
        if self.works is None:
            return min(self.end, self.failed + (self.failed - self.first + 1))
        if self.works - self.failed > 1:
            return (self.works + self.failed) // 2
        return self.works if self.asked != self.works else None


class UnreadRanges:
    """Makes `consumer.poll` return an UnreadRange, as the value of a record, in the place of what cannot be read.

    The rest of the partition and all other partitions go on. Covered are batches that the client cannot decode, batches
    that the broker cannot find its way around (it answers CORRUPT_MESSAGE), and records deleted before they were read.
    """

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer
        self._fetcher = consumer._fetcher
        self._parse = self._fetcher._parse_fetched_data
        self._searches: dict[TopicPartition, _Search] = {}
        self._out_of_range: dict[TopicPartition, int] = {}  # the position that the broker did not have
        self._before: dict[TopicPartition, UnreadRange] = {}
        self._log_end = -1
        self._fetcher._parse_fetched_data = self._parsed
        self._fetcher.PartitionRecords = self._records

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """These partitions went to another member, which finds out for itself."""
        for partition in partitions:
            for known in (self._searches, self._out_of_range, self._before):
                known.pop(partition, None)

    def pending(self, partition: TopicPartition) -> bool:
        """Whether the position is past offsets that have not been handed out as a range yet."""
        return partition in self._searches or partition in self._out_of_range or partition in self._before

    def _records(self, fetch_offset: int, partition: TopicPartition, *args: Any, **more: Any) -> ReadableRecords:
        before = self._before.pop(partition, None)
        lost = self._out_of_range.pop(partition, None)
        if lost is not None and lost < fetch_offset:
            reason = "deleted before it was read: see retention.ms and retention.bytes of the topic"
            before = UnreadRange(partition.topic, partition.partition, lost, fetch_offset - 1, "deleted", reason)
        return ReadableRecords(before, self._log_end, fetch_offset, partition, *args, **more)

    def _parsed(self, fetch: Any) -> Any:
        partition, offset, data = fetch.topic_partition, fetch.fetched_offset, fetch.partition_data
        assignment = self._fetcher._subscriptions.assignment.get(partition)
        if assignment is None or assignment.position is None or assignment.position.offset != offset:
            return self._parse(fetch)  # the answer to a question of before; it is dropped there
        error = errors.for_code(data.error_code)
        self._log_end = data.high_watermark
        if error is errors.OffsetOutOfRangeError:
            search = self._searches.pop(partition, None)
            self._out_of_range[partition] = offset if search is None else search.first
        if error is errors.NoError and self._is_cut(data.records):
            return self._drop(fetch)
        damaged = error is errors.CorruptRecordError or (
            error is errors.NoError and bool(data.records) and not is_framed(data.records)
        )
        if damaged or (error is errors.NoError and partition in self._searches):
            elsewhere = self._search(partition, offset, damaged)
            if elsewhere is not None:
                self._consumer.seek(partition, elsewhere)
                return self._drop(fetch)
        return self._parse(fetch)

    def _search(self, partition: TopicPartition, offset: int, damaged: bool) -> int | None:
        """Where to fetch next, or None to take this fetch. A search that ends leaves its range behind."""
        search = self._searches.get(partition)
        if search is None or search.asked != offset:
            if not damaged:
                self._searches.pop(partition, None)
                return None
            end = self._consumer.end_offsets([partition], timeout_ms=_END_TIMEOUT_MS)[partition]
            search = self._searches[partition] = _Search(offset, end, offset)
        elif damaged:
            search.failed = offset
        else:
            search.works = offset
        if search.failed >= search.end:
            return None  # not even the end can be fetched: the broker's error is raised
        search.asked = offset
        if (elsewhere := search.next_offset()) is not None:
            search.asked = elsewhere
            return elsewhere
        del self._searches[partition]
        reason = "the broker cannot read its own log here"
        self._before[partition] = UnreadRange(
            partition.topic, partition.partition, search.first, offset - 1, "corrupt", reason
        )
        return None

    def _is_cut(self, records: Any) -> bool:
        """Whether the first batch came in part, as old brokers do; then the next fetch asks for all of it."""
        config = self._fetcher.config
        if not records or len(records) < BATCH_PREFIX.size:
            return False
        wanted = BATCH_PREFIX.size + BATCH_PREFIX.unpack_from(records)[1]
        if wanted <= len(records) or not config["max_partition_fetch_bytes"] < wanted <= config["fetch_max_bytes"]:
            return False
        config["max_partition_fetch_bytes"] = wanted
        return True

    def _drop(self, fetch: Any) -> None:
        if fetch.metric_aggregator:
            fetch.metric_aggregator.record(fetch.topic_partition, 0, 0)
