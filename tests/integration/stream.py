"""Stream: the topics of one test, filled and read back by the plain client."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import RetriableError

from monitor.alerts.alert import Alert
from tests.brokers import AnyBroker

PARTITIONS = 3
_LARGEST_BYTES = 10_000_000


@dataclass(frozen=True)
class Outgoing:
    """A record to publish."""

    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


class Stream:
    """Topics for events (which takes records of 10 MB), alerts and dead letters, and a group; all with new names."""

    def __init__(self, broker: AnyBroker) -> None:
        self._servers = broker.bootstrap_servers
        name = uuid.uuid4().hex[:10]
        self.events, self.alerts, self.dead_letters = f"events-{name}", f"alerts-{name}", f"dead-{name}"
        self.group = f"group-{name}"
        self.published: Counter[int] = Counter()
        """How many records each partition of the events has been given."""
        admin = KafkaAdminClient(bootstrap_servers=self._servers)
        try:
            large = {"max.message.bytes": str(_LARGEST_BYTES)}
            admin.create_topics(
                {self.events: {"num_partitions": PARTITIONS, "replication_factor": 1, "configs": large}}
            )
            admin.wait_for_topics([self.events])
        finally:
            admin.close()
        broker.create_topics({self.alerts: PARTITIONS, self.dead_letters: 1})

    def publish(self, records: Sequence[Outgoing]) -> list[tuple[int, int]]:
        """Writes the records to the partitions in turn; returns partition and offset of each."""
        producer = KafkaProducer(
            bootstrap_servers=self._servers, linger_ms=5, max_request_size=_LARGEST_BYTES, batch_size=65_536
        )
        try:
            futures = [
                producer.send(self.events, value=r.value, key=r.key, headers=list(r.headers), partition=i % PARTITIONS)
                for i, r in enumerate(records)
            ]
            producer.flush(60)
            placed = [(f.get(10).partition, f.get(10).offset) for f in futures]
        finally:
            producer.close(10)
        self.published.update(partition for partition, _ in placed)
        return placed

    def committed(self) -> dict[int, int]:
        """The group's committed offset of each partition of the events; empty while there is none."""
        admin = KafkaAdminClient(bootstrap_servers=self._servers)
        try:
            offsets = admin.list_group_offsets(self.group)[self.group]
        except RetriableError:  # the first group of a cluster waits for its offsets topic
            return {}
        finally:
            admin.close()
        return {tp.partition: max(0, o.offset) for tp, o in offsets.items() if tp.topic == self.events}

    def all_committed(self) -> bool:
        """Whether the group stands at the end of every partition, and not behind it."""
        committed = self.committed()
        assert all(committed.get(p, 0) <= n for p, n in self.published.items()), (committed, self.published)
        return committed == dict(self.published)

    def group_state(self) -> str:
        """What the broker says of the group: Empty if it has no members."""
        admin = KafkaAdminClient(bootstrap_servers=self._servers)
        try:
            return next(g["group_state"] for g in admin.list_groups() if g["group_id"] == self.group)
        finally:
            admin.close()

    def read(self, topic: str, partitions: int = PARTITIONS) -> list[Any]:
        """All records that are now in a topic. Takes no part in any group."""
        assigned = [TopicPartition(topic, n) for n in range(partitions)]
        found: list[Any] = []
        consumer = KafkaConsumer(
            bootstrap_servers=self._servers, auto_offset_reset="earliest", isolation_level="read_committed"
        )
        try:
            consumer.assign(assigned)
            give_up_at = time.monotonic() + 60
            while not all(_at_end(consumer, partition) for partition in assigned):
                assert time.monotonic() < give_up_at, f"{topic} could not be read to its end"
                for records in consumer.poll(timeout_ms=100).values():
                    found.extend(records)
            return found
        finally:
            consumer.close()

    def delivered(self) -> list[Alert]:
        """The alerts on their topic, with repetitions."""
        return [Alert.from_json(record.value) for record in self.read(self.alerts)]

    def refused(self) -> list[Any]:
        """The records on the dead-letter topic."""
        return self.read(self.dead_letters, 1)


def _at_end(consumer: KafkaConsumer, partition: TopicPartition) -> bool:
    end = consumer.highwater(partition)  # None before the first answer
    return end is not None and consumer.position(partition) >= end
