"""Kafka sources that are closed after the test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from monitor.config.sections import KafkaConfig, SourceConfig
from monitor.sources.kafka import KafkaSource
from tests.brokers import AnyBroker
from tests.sources.polling import Open


@pytest.fixture
def open_source() -> Iterator[Open]:
    opened: list[KafkaSource] = []

    def open_(broker: AnyBroker, topic: str, **settings: object) -> KafkaSource:
        settings = {"session_timeout_ms": 4_000, "heartbeat_interval_ms": 300, "poll_timeout_ms": 200} | settings
        source = SourceConfig.model_validate({"topic": topic, "group_id": f"group-{topic}", **settings})
        kafka = KafkaConfig(bootstrap_servers=broker.bootstrap_servers, request_timeout_ms=5_000)
        opened.append(KafkaSource(kafka, source))
        return opened[-1]

    yield open_
    for source in opened:
        source.close()
