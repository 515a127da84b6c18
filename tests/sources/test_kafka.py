"""KafkaSource against real brokers: nothing lost, nothing committed that was not handed out."""

from __future__ import annotations

import time

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

from monitor.config.sections import KafkaConfig, SourceConfig
from monitor.demo.broker import EmbeddedBroker
from monitor.errors import Retryable
from monitor.events.event import Record
from monitor.sources.kafka import KafkaSource
from tests.brokers import AnyBroker, ApacheKafka
from tests.sources.polling import Open, lag, take, values
from tests.topics import fill, new_topic

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]


def test_hands_out_in_order_and_lag_falls_to_zero(broker: AnyBroker, open_source: Open) -> None:
    topic = new_topic(broker, partitions=3)
    fill(broker, topic, [b"%d" % i for i in range(30)], partitions=3)
    source = open_source(broker, topic, max_poll_records=4)
    assert lag(source) is None
    assert not source.connected
    assert not source.assigned
    found: list[Record] = []
    while len(found) < 30:
        found.extend(source.poll())
        assert (lag(source) == 0) <= (len(found) == 30)
    for partition in range(3):
        assert values([r for r in found if r.origin.partition == partition]) == [
            b"%d" % i for i in range(partition, 30, 3)
        ]
    assert [r.origin.offset for r in found if r.origin.partition == 0] == list(range(10))
    assert lag(source) == 0
    assert source.connected
    assert source.assigned
    fill(broker, topic, [b"more"])
    assert values(take(source, 1)) == [b"more"]


def test_commits_what_was_handed_out_and_no_more(broker: AnyBroker, open_source: Open) -> None:
    topic = new_topic(broker)
    fill(broker, topic, [b"%d" % i for i in range(10)])
    first = open_source(broker, topic, max_poll_records=3)
    assert values(take(first, 3)) == [b"0", b"1", b"2"]
    first.commit()
    assert values(take(first, 3)) == [b"3", b"4", b"5"]
    first.close()
    second = open_source(broker, topic)
    assert values(take(second, 7)) == [b"%d" % i for i in range(3, 10)]
    second.commit()
    second.close()
    third = open_source(broker, topic)
    while not third.assigned:
        assert third.poll() == []
    assert values(take(third, 1, timeout_s=1.0)) == []


def test_keys_values_and_headers_arrive_as_they_are(broker: AnyBroker, open_source: Open) -> None:
    topic = new_topic(broker)
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap_servers)
    producer.send(
        topic, key=b"\xff", value=None, headers=[("a", b"\x00\xff"), ("a", b"")], timestamp_ms=1_748_781_000_123
    )
    producer.send(topic, key=None, value=b"")
    producer.flush(10)
    producer.close(5)
    tombstone, empty = take(open_source(broker, topic), 2)
    assert (tombstone.key, tombstone.value, tombstone.headers) == (b"\xff", None, (("a", b"\x00\xff"), ("a", b"")))
    assert tombstone.time_ms == 1_748_781_000_123
    assert (empty.key, empty.value, empty.headers) == (None, b"", ())


def test_slow_work_keeps_its_partitions(broker: AnyBroker, open_source: Open) -> None:
    topic = new_topic(broker, partitions=2)
    fill(broker, topic, [b"%d" % i for i in range(8)], partitions=2)
    source = open_source(broker, topic, max_poll_records=2, max_poll_interval_ms=1_500)
    found = take(source, 2)
    for _ in range(15):
        time.sleep(0.2)
        source.keep_alive()
    source.commit()
    assert source.lost_commits == 0
    assert source.assigned
    found += take(source, 6)
    assert sorted(values(found)) == [b"%d" % i for i in range(8)]  # type: ignore[type-var]
    for partition in range(2):
        offsets = [r.origin.offset for r in found if r.origin.partition == partition]
        assert offsets == [0, 1, 2, 3]


def test_work_that_is_too_slow_commits_nothing_and_is_read_again(broker: AnyBroker, open_source: Open) -> None:
    topic = new_topic(broker)
    fill(broker, topic, [b"0", b"1"])
    source = open_source(broker, topic, max_poll_interval_ms=500)
    assert values(take(source, 2)) == [b"0", b"1"]
    time.sleep(1.5)
    source.commit()
    assert source.lost_commits == 1
    assert values(take(source, 2)) == [b"0", b"1"]
    source.commit()
    assert source.lost_commits == 1


def test_two_members_share_and_lose_nothing(broker: AnyBroker, open_source: Open) -> None:
    topic = new_topic(broker, partitions=4)
    fill(broker, topic, [b"%d" % i for i in range(40)], partitions=4)
    first = open_source(broker, topic, max_poll_records=5)
    done = set(values(take(first, 10)))
    second = open_source(broker, topic, max_poll_records=5)
    # the second joins while the first is at work: its keep_alive lets partitions go, and they are not committed
    give_up_at = time.monotonic() + 20
    from_second: list[Record] = []
    while not from_second and time.monotonic() < give_up_at:
        first.keep_alive()
        from_second += second.poll()
    first.commit()
    assert from_second
    done |= set(values(from_second))
    while len(done) < 40 and time.monotonic() < give_up_at:
        for source in (first, second):
            done |= set(values(list(source.poll())))
            source.commit()
    assert done == {b"%d" % i for i in range(40)}
    second.close()
    fill(broker, topic, [b"late-%d" % i for i in range(4)], partitions=4)
    late: set[bytes | None] = set()
    while len(late) < 4 and time.monotonic() < give_up_at + 15:
        late |= {v for v in values(list(first.poll())) if v is not None and v.startswith(b"late")}
        first.commit()
    assert len(late) == 4


def test_a_partition_that_moved_is_not_committed_by_its_old_owner(apache_kafka: ApacheKafka, open_source: Open) -> None:
    topic = new_topic(apache_kafka, partitions=2)
    fill(apache_kafka, topic, [b"%d" % i for i in range(2)], partitions=2)
    first = open_source(apache_kafka, topic)
    assert len(take(first, 2)) == 2
    second = open_source(apache_kafka, topic)
    again: list[Record] = []
    give_up_at = time.monotonic() + 20
    while not again and time.monotonic() < give_up_at:
        first.keep_alive()
        again += second.poll()
    # the second member holds one partition, read from its start, as the first never committed
    assert len(again) == 1
    first.commit()
    first.close()
    second.close()
    third = open_source(apache_kafka, topic)
    # on a slow machine, the old owner may have lost its place in the group too, and then commits nothing at all
    assert first.lost_commits in (1, 2)
    left = take(third, first.lost_commits)
    assert len(left) == first.lost_commits
    assert again[0].origin.partition in {r.origin.partition for r in left}


def test_partitions_that_are_added_are_read_from_their_beginning(apache_kafka: ApacheKafka) -> None:
    topic = new_topic(apache_kafka)
    fill(apache_kafka, topic, [b"old"])
    servers = apache_kafka.bootstrap_servers
    # new partitions are noticed within a minute; the test is less patient
    kafka = KafkaConfig(bootstrap_servers=servers, request_timeout_ms=5_000, options={"metadata_max_age_ms": 500})
    source = KafkaSource(kafka, SourceConfig(topic=topic, group_id=f"group-{topic}", poll_timeout_ms=200))
    try:
        assert values(take(source, 1)) == [b"old"]
        admin = KafkaAdminClient(bootstrap_servers=servers)
        admin.create_partitions({topic: 3})
        admin.close()
        time.sleep(1)
        fill(apache_kafka, topic, [b"0", b"1", b"2"], partitions=3)
        assert sorted(v for v in values(take(source, 3)) if v) == [b"0", b"1", b"2"]
        source.commit()
        assert not source.unready
    finally:
        source.close()


def test_what_came_while_a_partition_was_paused_is_handed_out_later(
    apache_kafka: ApacheKafka, open_source: Open
) -> None:
    topic = new_topic(apache_kafka, partitions=2)
    first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)
    fill(apache_kafka, topic, [b"%d" % n for n in range(5)])
    source = open_source(apache_kafka, topic, max_poll_records=1)
    assert values(take(source, 1)) == [b"0"]
    # as if the other partition arrived while the source is only kept alive
    consumer = source._consumer
    assert consumer is not None
    consumer.pause(first)
    producer = KafkaProducer(bootstrap_servers=apache_kafka.bootstrap_servers)
    producer.send(topic, value=b"other", partition=1)
    producer.flush(10)
    producer.close(5)
    give_up_at = time.monotonic() + 20
    while not source._held and time.monotonic() < give_up_at:
        source._fetch(consumer, 200)
    assert consumer.position(second) == 1
    consumer.resume(first)
    assert values(take(source, 5)) == [b"other", b"1", b"2", b"3", b"4"]


def test_waiting_for_more_records_hands_out_no_more_than_the_limit(
    embedded_broker: EmbeddedBroker, open_source: Open
) -> None:
    topic = new_topic(embedded_broker)
    fill(embedded_broker, topic, [b"0"])
    source = open_source(embedded_broker, topic, max_poll_records=4)
    assert values(take(source, 1)) == [b"0"]
    consumer = source._consumer
    assert consumer is not None
    fill(embedded_broker, topic, [b"1", b"2", b"3"])
    give_up_at = time.monotonic() + 20
    while len(source._held) < 3 and time.monotonic() < give_up_at:
        source._fetch(consumer, 200)
    fill(embedded_broker, topic, [b"%d" % n for n in range(4, 10)])
    brief, source._source = source._source, source._source.model_copy(update={"max_wait_ms": 10_000})
    source._fill(consumer)
    source._source = brief
    assert values(source.poll()) == [b"1", b"2", b"3", b"4"]
    assert values(take(source, 5)) == [b"%d" % n for n in range(5, 10)]


def test_no_broker_is_retryable_with_the_reason(open_source: Open) -> None:
    source = KafkaSource(KafkaConfig(bootstrap_servers="127.0.0.1:1"), SourceConfig())
    with pytest.raises(Retryable, match=r"cannot reach a broker of 127\.0\.0\.1:1: .*ECONNREFUSED"):
        source.poll()
    source.keep_alive()
    source.commit()
    assert lag(source) is None
    assert not source.connected
    source.close()
