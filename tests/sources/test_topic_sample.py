"""TopicSample against Apache Kafka (the demo's broker answers ListOffsets wrongly): bounded, and without a trace."""

from __future__ import annotations

import pytest
from kafka import KafkaAdminClient

from monitor.config.sections import KafkaConfig, SourceConfig
from monitor.errors import ConfigError
from monitor.events.event import Record
from monitor.kafka.client import client_settings
from monitor.sources.topic_sample import TopicSample
from tests.brokers import ApacheKafka
from tests.topics import fill, new_topic

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]


def sample(broker: ApacheKafka, topic: str, from_end: int | None = None) -> list[tuple[int, int, bytes | None]]:
    kafka = KafkaConfig(bootstrap_servers=broker.bootstrap_servers, request_timeout_ms=5_000)
    source = TopicSample(kafka, SourceConfig(), topic, from_end)
    found = []
    try:
        while not source.exhausted:
            for record in source.poll():
                assert isinstance(record, Record)
                found.append((record.origin.partition, record.origin.offset, record.value))
    finally:
        source.close()
    return sorted(found)


def test_reads_all_partitions_to_where_they_end(apache_kafka: ApacheKafka) -> None:
    topic = new_topic(apache_kafka, partitions=3)
    fill(apache_kafka, topic, [b"%d" % i for i in range(5)], partitions=2)  # the third has none
    assert sample(apache_kafka, topic) == [(0, 0, b"0"), (0, 1, b"2"), (0, 2, b"4"), (1, 0, b"1"), (1, 1, b"3")]
    assert sample(apache_kafka, topic, from_end=1) == [(0, 2, b"4"), (1, 1, b"3")]
    assert sample(apache_kafka, topic, from_end=100) == sample(apache_kafka, topic)


def test_an_empty_topic_ends_at_once(apache_kafka: ApacheKafka) -> None:
    assert sample(apache_kafka, new_topic(apache_kafka)) == []


def test_a_topic_that_is_not_there_is_named_and_not_created(apache_kafka: ApacheKafka) -> None:
    for _ in range(2):
        with pytest.raises(ConfigError, match="topic no-such-topic: does not exist"):
            sample(apache_kafka, "no-such-topic")


def test_no_group_is_joined(apache_kafka: ApacheKafka) -> None:
    topic = new_topic(apache_kafka)
    fill(apache_kafka, topic, [b"a"])
    admin = KafkaAdminClient(**client_settings(KafkaConfig(bootstrap_servers=apache_kafka.bootstrap_servers)))
    try:
        before = admin.list_groups()
        assert sample(apache_kafka, topic) == [(0, 0, b"a")]
        assert admin.list_groups() == before
    finally:
        admin.close()
