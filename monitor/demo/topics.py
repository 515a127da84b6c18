"""DemoTopics: how the demo publishes events, watches commits and reads results."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError

from monitor.errors import Permanent

_TIMEOUT_S = 30.0
_CLOSE_TIMEOUT_S = 5.0


class DemoTopics:
    """A context manager over one broker's topics. Raises every Kafka failure as Permanent."""

    def __init__(self, bootstrap_servers: str, group_id: str) -> None:
        self._servers = bootstrap_servers
        self._group = group_id
        self._admin: KafkaAdminClient | None = None
        self._producer: KafkaProducer | None = None

    def __enter__(self) -> DemoTopics:
        try:
            self._admin = KafkaAdminClient(bootstrap_servers=self._servers)
        except KafkaError as e:
            raise Permanent(f"the demo's broker does not answer: {e}") from e
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._producer is not None:
            with contextlib.suppress(KafkaError):  # of a broker that is gone; everything published is flushed
                self._producer.close(timeout=_CLOSE_TIMEOUT_S)
        if self._admin is not None:
            self._admin.close()

    def publish(self, topic: str, records: Sequence[tuple[str, bytes]]) -> dict[int, int]:
        """Publishes (key, value) records; returns how many each partition got, once the broker has them all."""
        try:
            if self._producer is None:
                self._producer = KafkaProducer(bootstrap_servers=self._servers, linger_ms=5)
            futures = [self._producer.send(topic, key=key.encode(), value=value) for key, value in records]
            self._producer.flush(timeout=_TIMEOUT_S)
            return dict(Counter(future.get(timeout=_TIMEOUT_S).partition for future in futures))
        except KafkaError as e:
            raise Permanent(f"cannot publish to {topic}: {e}") from e

    def committed(self, topic: str, published: Mapping[int, int]) -> int:
        """How many of the published records the group has committed.

        Counted from what was published, because the embedded broker reports wrong end offsets.
        """
        if self._admin is None:
            raise RuntimeError("enter the context first")
        try:
            offsets = self._admin.list_group_offsets(self._group)[self._group]
        except KafkaError as e:
            raise Permanent(f"cannot read the offsets of group {self._group}: {e}") from e
        done = {tp.partition: meta.offset for tp, meta in offsets.items() if tp.topic == topic}
        return sum(min(count, max(0, done.get(partition, 0))) for partition, count in published.items())

    def read(self, topic: str, partitions: int) -> list[bytes]:
        """The values of all records now in the topic. Joins no consumer group."""
        assigned = [TopicPartition(topic, n) for n in range(partitions)]
        values: list[bytes] = []
        try:
            consumer = KafkaConsumer(
                bootstrap_servers=self._servers, auto_offset_reset="earliest", isolation_level="read_committed"
            )
            try:
                consumer.assign(assigned)
                give_up_at = time.monotonic() + _TIMEOUT_S
                while not all(_at_end(consumer, partition) for partition in assigned):
                    if time.monotonic() > give_up_at:
                        raise Permanent(f"{topic} could not be read to its end within {_TIMEOUT_S:.0f} s")
                    batches = consumer.poll(timeout_ms=200)
                    values.extend(record.value for records in batches.values() for record in records)
            finally:
                consumer.close()
        except KafkaError as e:
            raise Permanent(f"cannot read {topic}: {e}") from e
        return [value for value in values if value is not None]


def _at_end(consumer: KafkaConsumer, partition: TopicPartition) -> bool:
    # None until the broker has answered for this partition
    end = consumer.highwater(partition)
    return end is not None and consumer.position(partition) >= end
