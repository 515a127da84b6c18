"""TopicSample against Apache Kafka (the demo's broker answers ListOffsets wrongly): bounded, and without a trace."""

from __future__ import annotations

import pytest
from kafka import KafkaAdminClient, KafkaProducer

from monitor.config.sections import KafkaConfig, SourceConfig
from monitor.errors import ConfigError
from monitor.events.event import Record
from monitor.events.unread_range import UnreadRange
from monitor.kafka.client import client_settings
from monitor.sources.topic_range import TopicRange
from monitor.sources.topic_sample import TopicSample
from tests.brokers import ApacheKafka
from tests.log_segment import LogSegment
from tests.sources.test_unread import batches, unread, wrong_checksum
from tests.topics import fill, new_topic

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]


def opened(broker: ApacheKafka, topic: str, from_end: int | None = None) -> TopicSample:
    kafka = KafkaConfig(bootstrap_servers=broker.bootstrap_servers, request_timeout_ms=5_000)
    return TopicSample(kafka, SourceConfig(), topic, TopicRange(from_end))


def sample(broker: ApacheKafka, topic: str, from_end: int | None = None) -> list[tuple[int, int, bytes | None]]:
    return drained(opened(broker, topic, from_end))


def drained(source: TopicSample) -> list[tuple[int, int, bytes | None]]:
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


@pytest.mark.parametrize("end", ["commit_transaction", "abort_transaction"])
def test_markers_of_transactions_at_the_end_do_not_keep_it_waiting(apache_kafka: ApacheKafka, end: str) -> None:
    topic = new_topic(apache_kafka)
    fill(apache_kafka, topic, [b"a"])
    producer = KafkaProducer(bootstrap_servers=apache_kafka.bootstrap_servers, transactional_id=topic)
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(topic, value=b"b")
    producer.flush(10)
    getattr(producer, end)()
    producer.close(5)
    committed = [(0, 1, b"b")] if end == "commit_transaction" else []
    assert sample(apache_kafka, topic) == [(0, 0, b"a"), *committed]
    assert sample(apache_kafka, topic, from_end=1) == []  # the marker


def test_what_comes_after_it_was_opened_is_not_read(apache_kafka: ApacheKafka) -> None:
    topic = new_topic(apache_kafka)
    fill(apache_kafka, topic, [b"a"])
    source = opened(apache_kafka, topic)
    fill(apache_kafka, topic, [b"b"])
    assert drained(source) == [(0, 0, b"a")]


@pytest.mark.parametrize("sizes", [(2, 2, 2), (2, 2)])
def test_what_cannot_be_decoded_is_told(apache_kafka: ApacheKafka, sizes: tuple[int, ...]) -> None:
    topic = new_topic(apache_kafka, partitions=2)
    batches(apache_kafka, topic, sizes)
    wrong_checksum(LogSegment(apache_kafka, topic))
    source = opened(apache_kafka, topic)
    found: list[Record | UnreadRange] = []
    while not source.exhausted:
        found += source.poll()
    source.close()
    assert unread(found) == [(2, 3, "corrupt")]
    assert len(found) == sum(sizes)


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
