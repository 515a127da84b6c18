"""KafkaSkipped: the offsets of events that were not read because of an overload."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from monitor.config.sections import KafkaConfig
from monitor.events.event import Origin
from monitor.kafka.producer import Outgoing, Producer
from monitor.sources.skipped_records import SCHEMA


class KafkaSkipped:
    """Writes one record for each partition of a batch: its offsets as ranges, and why they were skipped."""

    def __init__(self, kafka: KafkaConfig, topic: str, transaction: Producer | None = None) -> None:
        """With a `transaction`, the records become visible when it is committed."""
        self._topic = topic
        self._producer = transaction or Producer(kafka)

    def add(self, origins: Iterable[Origin], reason: str, sampling: float) -> None:
        """Takes the places of skipped records. Raises Retryable or Permanent."""
        by_partition: dict[tuple[str, int], set[int]] = {}
        for origin in origins:
            by_partition.setdefault((origin.topic, origin.partition), set()).add(origin.offset)
        for (topic, partition), offsets in sorted(by_partition.items()):
            value: dict[str, Any] = {
                "schema": SCHEMA,
                "topic": topic,
                "partition": partition,
                "ranges": list(_ranges(offsets)),
                "reason": reason,
                "sampling": sampling,
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            }
            key = f"{topic}-{partition}".encode()
            self._producer.send(Outgoing(self._topic, json.dumps(value).encode(), lambda: None, key))

    def flush(self) -> None:
        """Returns when all are delivered. Raises Retryable or Permanent."""
        self._producer.flush()

    def reset(self) -> None:
        """Forgets what is in flight and connects again."""
        self._producer.reset()

    def close(self) -> None:
        """Frees everything. Does not flush."""
        self._producer.close()


def _ranges(offsets: set[int]) -> Iterator[tuple[int, int]]:
    """First and last offset of each run without a gap."""
    first = last = None
    for offset in sorted(offsets):
        if last is not None and first is not None and offset != last + 1:
            yield first, last
            first = offset
        first = offset if first is None else first
        last = offset
    if first is not None and last is not None:
        yield first, last
