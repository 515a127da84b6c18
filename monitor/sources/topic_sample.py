"""TopicSample: some records of a topic, read without joining a group and without committing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from kafka import KafkaConsumer, TopicPartition, errors

from monitor.config.sections import KafkaConfig, SourceConfig
from monitor.errors import ConfigError, Permanent
from monitor.events.event import Origin, Record
from monitor.events.unread_range import UnreadRange
from monitor.kafka.client import failure, open_client
from monitor.kafka.unread_ranges import UnreadRanges

_POLL_MS = 500
_SILENT_AFTER_S = 15.0


class TopicSample:
    """A Source that ends where the topic ended when it was opened. No group and no offset is touched by it."""

    unready = ""

    def __init__(self, kafka: KafkaConfig, source: SourceConfig, topic: str, from_end: int | None = None) -> None:
        """Begins `from_end` offsets before the end of each partition, or at the beginning of each.

        Raises ConfigError if there is no such topic, and Retryable or Permanent if the brokers can't be read.
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
            self._ends = self._assigned(from_end)
        except errors.KafkaError as e:
            self.close()
            raise failure(e, f"cannot read topic {topic}") from e
        except ConfigError:
            self.close()
            raise
        self._progress_at = time.monotonic()

    @property
    def exhausted(self) -> bool:
        """Whether every partition was read to where it ended."""
        return not self._ends

    def poll(self) -> Sequence[Record | UnreadRange]:
        """The next records. Raises Permanent if none comes for a while although there are some."""
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
            _record(item) for item in found if item.offset < ends.get(TopicPartition(item.topic, item.partition), 0)
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

    def _assigned(self, from_end: int | None) -> dict[TopicPartition, int]:
        """Takes all partitions. Returns where each ends, of those that have records."""
        numbers = self._consumer.partitions_for_topic(self._topic)
        if not numbers:
            raise ConfigError(f"topic {self._topic}: does not exist, or this user may not see it")
        partitions = [TopicPartition(self._topic, number) for number in sorted(numbers)]
        self._consumer.assign(partitions)
        ends: dict[TopicPartition, int] = self._consumer.end_offsets(partitions)
        starts: dict[TopicPartition, int] = self._consumer.beginning_offsets(partitions)
        for partition in partitions:
            start = starts[partition] if from_end is None else max(starts[partition], ends[partition] - from_end)
            self._consumer.seek(partition, start)
            if start >= ends[partition]:
                self._consumer.pause(partition)
                del ends[partition]
        return ends


def _record(item: Any) -> Record | UnreadRange:
    if isinstance(item.value, UnreadRange):
        return item.value
    headers = tuple((name, value if value is not None else b"") for name, value in item.headers or ())
    return Record(item.value, Origin(item.topic, item.partition, item.offset), item.key, headers)
