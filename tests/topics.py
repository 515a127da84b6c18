"""Topics of one test each: made, filled and read back by the plain client."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from monitor.config.sections import KafkaConfig
from monitor.kafka.client import client_settings
from tests.brokers import AnyBroker, ApacheKafka


def new_topic(broker: AnyBroker, partitions: int = 1, prefix: str = "topic") -> str:
    """A topic that no other test knows."""
    name = f"{prefix}-{uuid.uuid4().hex[:10]}"
    broker.create_topics({name: partitions})
    return name


def fill(broker: AnyBroker, topic: str, values: Sequence[bytes], partitions: int = 1, **more: Any) -> None:
    """Writes the values to the partitions in turn."""
    plain = KafkaConfig(bootstrap_servers=broker.bootstrap_servers)
    producer = KafkaProducer(**client_settings(broker.admin_config() if isinstance(broker, ApacheKafka) else plain))
    for i, value in enumerate(values):
        producer.send(topic, value=value, partition=i % partitions, **more)
    producer.flush(10)
    producer.close(5)


def read(kafka: KafkaConfig, topic: str, count: int, timeout_s: float = 20.0) -> list[Any]:
    """The first `count` records of partition 0 (fewer when they do not come), and whatever came with them."""
    consumer = KafkaConsumer(**client_settings(kafka), auto_offset_reset="earliest", enable_auto_commit=False)
    try:
        consumer.assign([TopicPartition(topic, 0)])
        found: list[Any] = []
        give_up_at = time.monotonic() + timeout_s
        while len(found) < count and time.monotonic() < give_up_at:
            for records in consumer.poll(timeout_ms=200).values():
                found.extend(records)
        for records in consumer.poll(timeout_ms=200).values():
            found.extend(records)
        return found
    finally:
        consumer.close()
