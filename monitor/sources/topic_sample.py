"""TopicSample: a range of a topic, read without joining a group and without committing."""

from __future__ import annotations

import time
from collections.abc import Sequence

from kafka import KafkaConsumer, TopicPartition, errors

from monitor.config.sections import KafkaConfig, SourceConfig
from monitor.errors import ConfigError, Permanent
from monitor.events.event import Record
from monitor.events.unread_range import UnreadRange
from monitor.kafka.client import failure, open_client
from monitor.kafka.unread_ranges import UnreadRanges
from monitor.sources.received import received
from monitor.sources.topic_range import WHOLE_TOPIC, TopicRange

_POLL_MS = 500
_SILENT_AFTER_S = 15.0


class TopicSample:
    """A Source that ends where the topic ended when it was opened. No group and no offset is touched by it."""

    unready = ""

    def __init__(self, kafka: KafkaConfig, source: SourceConfig, topic: str, wanted: TopicRange = WHOLE_TOPIC) -> None:
        """Reads only what is `wanted`.

        Raises ConfigError if there is no such topic or partition, and Retryable or Permanent if the brokers can't be
        read.
        """
        self._topic = topic
        self._consumer = open_client(
            KafkaConsumer,
            kafka,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level=source.isolation_level,
            max_poll_records=source.max_poll_records,
            fetch_max_wait_ms=min(_POLL_MS, kafka.request_timeout_ms - 1),
            allow_auto_create_topics=False,
        )
        try:
            self._unread = UnreadRanges(self._consumer)
            self._deleted: list[UnreadRange] = []
            self._ends = self._assigned(wanted)
        except errors.KafkaError as e:
            self.close()
            raise failure(e, f"cannot read topic {topic}") from e
        except ConfigError:
            self.close()
            raise
        self._progress_at = time.monotonic()

    @property
    def exhausted(self) -> bool:
        """Whether every partition was read to where the range ends."""
        return not self._ends and not self._deleted

    def poll(self) -> Sequence[Record | UnreadRange]:
        """The next records. Raises Permanent if none comes for a while although there are some."""
        if self._deleted:
            deleted, self._deleted = self._deleted, []
            return deleted
        if not self._ends:
            return ()
        try:
            batches = self._consumer.poll(timeout_ms=_POLL_MS)
            found = [item for records in batches.values() for item in records]
            ends, before = dict(self._ends), len(self._ends)
            for partition, end in ends.items():
                at_end = self._consumer.position(partition, timeout_ms=_POLL_MS) >= end
                if at_end and not self._unread.pending(partition):
                    self._consumer.pause(partition)
                    del self._ends[partition]
        except errors.KafkaError as e:
            raise failure(e, f"cannot read topic {self._topic}") from e
        if found or len(self._ends) < before:
            self._progress_at = time.monotonic()
        elif self._ends and time.monotonic() - self._progress_at > _SILENT_AFTER_S:
            raise Permanent(f"topic {self._topic}: no records come, although there are some")
        return [
            received(item) for item in found if item.offset < ends.get(TopicPartition(item.topic, item.partition), 0)
        ]

    def keep_alive(self) -> None:
        """Nothing to do: this is no member of a group."""

    def commit(self) -> None:
        """Nothing to do: a sample leaves no trace."""

    def positions(self) -> None:
        """Unknown."""

    def close(self) -> None:
        """Closes the connections."""
        self._consumer.close(autocommit=False)

    def _assigned(self, wanted: TopicRange) -> dict[TopicPartition, int]:
        """Takes the partitions of the range. Returns where each ends, of those that have records."""
        numbers = self._consumer.partitions_for_topic(self._topic)
        if not numbers:
            raise ConfigError(f"topic {self._topic}: does not exist, or this user may not see it")
        if missing := wanted.offsets.keys() - numbers:
            raise ConfigError(f"topic {self._topic}: has no partition {min(missing)}; it has {len(numbers)}")
        partitions = [TopicPartition(self._topic, n) for n in sorted(wanted.offsets or numbers)]
        self._consumer.assign(partitions)
        starts: dict[TopicPartition, int] = self._consumer.beginning_offsets(partitions)
        log_ends: dict[TopicPartition, int] = self._consumer.end_offsets(partitions)
        firsts = self._at_time(partitions, wanted.from_ms, starts, log_ends)
        ends = self._at_time(partitions, wanted.to_ms, log_ends, log_ends)
        for partition in partitions:
            if wanted.from_end is not None:
                firsts[partition] = max(starts[partition], log_ends[partition] - wanted.from_end)
            if wanted.offsets:
                first, last = wanted.offsets[partition.partition]
                ends[partition] = min(log_ends[partition], last + 1)
                firsts[partition] = self._kept(partition, first, min(starts[partition], last + 1))
            self._consumer.seek(partition, firsts[partition])
            if firsts[partition] >= ends[partition]:
                self._consumer.pause(partition)
                del ends[partition]
        return ends

    def _at_time(
        self,
        partitions: list[TopicPartition],
        time_ms: int | None,
        otherwise: dict[TopicPartition, int],
        log_ends: dict[TopicPartition, int],
    ) -> dict[TopicPartition, int]:
        """The first offset of each partition that is not older than a time."""
        if time_ms is None:
            return dict(otherwise)
        found = self._consumer.offsets_for_times(dict.fromkeys(partitions, time_ms))
        return {p: log_ends[p] if (at := found.get(p)) is None else at.offset for p in partitions}

    def _kept(self, partition: TopicPartition, first: int, start: int) -> int:
        """Where to begin in a partition whose log begins at `start`; what was deleted is told."""
        if first < start:
            reason = "deleted: see retention.ms and retention.bytes of the topic"
            self._deleted.append(UnreadRange(partition.topic, partition.partition, first, start - 1, "deleted", reason))
        return max(first, start)
