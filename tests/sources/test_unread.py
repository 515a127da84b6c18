"""What cannot be read never stops the rest: damage made on the disk of a real broker."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

import kafka.codec
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType

from monitor.events.event import Record
from monitor.events.unread_range import UnreadRange
from tests.brokers import ApacheKafka
from tests.log_segment import LogSegment
from tests.sources.polling import Open, lag, take, take_all, values
from tests.topics import fill, new_topic

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]

VALUES = [b"%d" % n for n in range(6)]


class RawName(str):
    """A header name that the producer sends as these bytes."""

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return b"n\xff\xfe"


def batches(
    broker: ApacheKafka, topic: str, sizes: tuple[int, ...] = (2, 2, 2), padding: int = 0, **settings: object
) -> None:
    """Batches of so many records in partition 0, and a record in partition 1."""
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap_servers, linger_ms=1_000, **settings)
    number = 0
    for size in sizes:
        for _ in range(size):
            producer.send(topic, value=b"%d" % number + b"." * padding, partition=0)
            number += 1
        producer.flush(10)
    producer.send(topic, value=b"other", partition=1)
    producer.flush(10)
    producer.close(5)


def unread(found: list[Record | UnreadRange]) -> list[tuple[int, int, str]]:
    return [(u.first_offset, u.last_offset, u.kind) for u in found if isinstance(u, UnreadRange)]


def committed(broker: ApacheKafka, topic: str, partition: int = 0) -> int | None:
    consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap_servers, group_id=f"group-{topic}")
    try:
        found: int | None = consumer.committed(TopicPartition(topic, partition))
        return found
    finally:
        consumer.close()


def unknown_codec(segment: LogSegment) -> None:
    segment.overwrite(1, segment.ATTRIBUTES, b"\x00\x05")


def wrong_checksum(segment: LogSegment) -> None:
    segment.overwrite(1, segment.RECORDS + 3, b"!", keep_crc=True)


def torn_gzip(segment: LogSegment) -> None:
    segment.overwrite(1, segment.ATTRIBUTES, b"\x00\x01")


def record_that_lies_about_its_length(segment: LogSegment) -> None:
    segment.overwrite(1, segment.RECORDS, b"\x7f")


@pytest.mark.parametrize(
    ("damage", "kind", "reason"),
    [
        (unknown_codec, "codec", "the compression codec number 5 is unknown"),
        (wrong_checksum, "corrupt", "the checksum of the batch does not match"),
        (torn_gzip, "corrupt", "the batch (gzip) cannot be decoded: "),
        (record_that_lies_about_its_length, "corrupt", "the batch cannot be decoded: "),
    ],
)
def test_a_batch_that_cannot_be_decoded_is_stepped_over(
    apache_kafka: ApacheKafka, open_source: Open, damage: Callable[[LogSegment], None], kind: str, reason: str
) -> None:
    topic = new_topic(apache_kafka, partitions=2)
    batches(apache_kafka, topic)
    damage(LogSegment(apache_kafka, topic))
    source = open_source(apache_kafka, topic)
    found = take_all(source)
    assert sorted(values(found)) == [b"0", b"1", b"4", b"5", b"other"]  # type: ignore[type-var]
    (gap,) = [item for item in found if isinstance(item, UnreadRange)]
    assert (gap.topic, gap.partition, gap.first_offset, gap.last_offset, gap.kind) == (topic, 0, 2, 3, kind)
    assert gap.reason.startswith(reason)
    # in its place among the records of its partition
    own = [item for item in found if isinstance(item, UnreadRange) or item.origin.partition == 0]
    assert own.index(gap) == 2
    source.commit()
    source.close()
    assert committed(apache_kafka, topic) == 6


@pytest.mark.parametrize("first", [0, 2])
def test_damage_at_either_end_of_the_log(apache_kafka: ApacheKafka, open_source: Open, first: int) -> None:
    topic = new_topic(apache_kafka, partitions=2)
    batches(apache_kafka, topic)
    segment = LogSegment(apache_kafka, topic)
    segment.overwrite(first, segment.RECORDS + 3, b"!", keep_crc=True)
    source = open_source(apache_kafka, topic)
    found = take_all(source)
    assert unread(found) == [(2 * first, 2 * first + 1, "corrupt")]
    fill(apache_kafka, topic, [b"later"])
    assert values(take(source, 1)) == [b"later"]


def test_a_checksum_that_covers_a_wrong_last_offset(apache_kafka: ApacheKafka, open_source: Open) -> None:
    topic = new_topic(apache_kafka, partitions=2)
    batches(apache_kafka, topic)
    segment = LogSegment(apache_kafka, topic)
    segment.overwrite(1, segment.ATTRIBUTES + 2, b"\x00\x00\x10\x00", keep_crc=True)
    found = take_all(open_source(apache_kafka, topic))
    assert unread(found) == [(2, 3, "corrupt")]
    assert b"5" in values(found)


def test_a_codec_that_is_not_installed_is_named(
    apache_kafka: ApacheKafka, open_source: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = new_topic(apache_kafka, partitions=2)
    batches(apache_kafka, topic, padding=200, compression_type="snappy")
    source = open_source(apache_kafka, topic)
    monkeypatch.setattr(kafka.codec, "snappy", None)
    found = take_all(source)
    assert [u.reason for u in found if isinstance(u, UnreadRange)] == [
        "the compression codec snappy is not installed"
    ] * 3
    assert values(found) == [b"other"]


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_every_codec_of_kafka_is_read(apache_kafka: ApacheKafka, open_source: Open, codec: str) -> None:
    topic = new_topic(apache_kafka, partitions=2)
    batches(apache_kafka, topic, padding=200, compression_type=codec)
    (_, length), *_ = LogSegment(apache_kafka, topic).batches()
    assert length < 300, "not compressed"
    found = take_all(open_source(apache_kafka, topic))
    assert sorted(v[:1] for v in values(found) if v) == [b"0", b"1", b"2", b"3", b"4", b"5", b"o"]
    assert unread(found) == []


@pytest.mark.parametrize("codec", ["gzip", "lz4", "zstd"])
def test_a_batch_that_grows_too_large_is_stepped_over(
    apache_kafka: ApacheKafka, open_source: Open, codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = new_topic(apache_kafka, partitions=2)
    monkeypatch.setattr("monitor.kafka.decompress.MAX_BYTES", 100_000)
    batches(apache_kafka, topic, sizes=(1, 1), padding=99_000, compression_type=codec)
    producer = KafkaProducer(bootstrap_servers=apache_kafka.bootstrap_servers, compression_type=codec)
    producer.send(topic, value=b"0" * 101_000, partition=0)
    producer.close(5)
    found = take_all(open_source(apache_kafka, topic))
    assert unread(found) == [(2, 2, "size")]
    assert sorted(v[:1] for v in values(found) if v) == [b"0", b"1", b"o"]


def test_a_header_name_that_is_not_utf8_is_escaped(apache_kafka: ApacheKafka, open_source: Open) -> None:
    topic = new_topic(apache_kafka)
    fill(apache_kafka, topic, [b"0"], headers=[("before", b"1"), (RawName("x"), b"\xff"), ("after", b"")])
    fill(apache_kafka, topic, [b"1"])
    first, second = take(open_source(apache_kafka, topic), 2)
    assert first.headers == (("before", b"1"), (r"n\xff\xfe", b"\xff"), ("after", b""))
    assert (first.value, second.value) == (b"0", b"1")


def test_where_the_broker_loses_its_way_as_little_as_can_be_is_lost(
    apache_kafka: ApacheKafka, open_source: Open
) -> None:
    topic = new_topic(apache_kafka, partitions=2)
    # each batch is larger than the index interval of 4096 bytes, so that the broker finds the next one
    batches(apache_kafka, topic, sizes=(1,) * 40, padding=5_000)
    segment = LogSegment(apache_kafka, topic)
    segment.overwrite(20, segment.LENGTH, b"\x00\x00\x00\x05", keep_crc=True)
    source = open_source(apache_kafka, topic, max_poll_records=7)
    found: list[Record | UnreadRange] = []
    give_up_at = time.monotonic() + 30
    while lag(source) != 0 and time.monotonic() < give_up_at:
        found.extend(source.poll())
        source.commit()
    read = {item.origin.offset for item in found if isinstance(item, Record) and item.origin.partition == 0}
    assert all(last < 40 for _, last, _ in unread(found))
    lost = {n for first, last, _ in unread(found) for n in range(first, last + 1)}
    assert read | lost == set(range(40))
    assert not read & lost
    assert 20 in lost
    assert len(lost) <= 3
    assert b"other" in values(found)
    source.close()
    assert committed(apache_kafka, topic) == 40


def test_records_larger_than_a_fetch_come_whole(apache_kafka: ApacheKafka, open_source: Open) -> None:
    topic = new_topic(apache_kafka, partitions=2)
    admin = KafkaAdminClient(bootstrap_servers=apache_kafka.bootstrap_servers)
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"max.message.bytes": "80000000"})])
    admin.close()
    large = secrets.token_bytes(60_000_000)  # over max_partition_fetch_bytes, and over fetch_max_bytes too
    producer = KafkaProducer(bootstrap_servers=apache_kafka.bootstrap_servers, max_request_size=2**30)
    for value in (b"0", large, b"2"):
        producer.send(topic, value=value, partition=0)
        producer.send(topic, value=b"other", partition=1)
    producer.flush(30)
    producer.close(5)
    found = take_all(open_source(apache_kafka, topic), timeout_s=60)
    assert sorted(values(found), key=lambda v: len(v or b"")) == [b"0", b"2", *[b"other"] * 3, large]
    assert unread(found) == []


def test_records_deleted_before_they_were_read_are_told(apache_kafka: ApacheKafka, open_source: Open) -> None:
    topic = new_topic(apache_kafka)
    fill(apache_kafka, topic, VALUES)
    source = open_source(apache_kafka, topic, max_poll_records=2)
    assert values(take(source, 2)) == [b"0", b"1"]
    source.commit()
    source.close()
    admin = KafkaAdminClient(bootstrap_servers=apache_kafka.bootstrap_servers)
    admin.delete_records({TopicPartition(topic, 0): 5})
    admin.close()
    again = open_source(apache_kafka, topic)
    found = take_all(again)
    assert unread(found) == [(2, 4, "deleted")]
    assert values(found) == [b"5"]


def test_a_range_becomes_a_dead_letter_without_bytes() -> None:
    record, error = UnreadRange("t", 3, 5, 9, "codec", "no such codec").dead_letter()
    assert (record.value, record.key) == (None, None)
    assert (record.origin.topic, record.origin.partition, record.origin.offset) == ("t", 3, 5)
    assert dict(record.headers) == {"latentwatch-unread": b"codec", "latentwatch-last-offset": b"9"}
    assert error.reason == "no such codec"
