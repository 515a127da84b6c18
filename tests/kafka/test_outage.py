"""A broker that dies and comes back: failures are told, and nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.config.sections import KafkaConfig, SourceConfig
from monitor.demo.broker import EmbeddedBroker
from monitor.errors import Retryable
from monitor.events.event import Record
from monitor.sinks.kafka import KafkaSink, KafkaSinkConfig
from monitor.sources.kafka import KafkaSource
from tests.brokers import ApacheKafka, kafka_home
from tests.sample_alerts import make_alert
from tests.topics import fill, new_topic, read

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]


@pytest.fixture
def mortal_kafka(tmp_path: Path) -> Iterator[ApacheKafka]:
    home = kafka_home()
    if home is None:
        pytest.skip("set KAFKA_HOME to an Apache Kafka download (and install Java) to run this test")
    with ApacheKafka(home, tmp_path) as broker:
        yield broker


def poll_through(source: KafkaSource, count: int, timeout_s: float) -> list[Record]:
    """Polls as the pipeline does: a Retryable is waited out."""
    found: list[Record] = []
    give_up_at = time.monotonic() + timeout_s
    while len(found) < count and time.monotonic() < give_up_at:
        try:
            found.extend(source.poll())
        except Retryable:
            time.sleep(0.2)
    return found


def test_a_broker_killed_and_restarted_loses_nothing(mortal_kafka: ApacheKafka) -> None:
    events, alerts = new_topic(mortal_kafka), new_topic(mortal_kafka)
    fill(mortal_kafka, events, [b"0", b"1", b"2", b"3"])
    kafka = KafkaConfig(bootstrap_servers=mortal_kafka.bootstrap_servers, request_timeout_ms=2_000)
    source = KafkaSource(
        kafka,
        SourceConfig(
            topic=events, max_poll_records=2, session_timeout_ms=2_000, heartbeat_interval_ms=300, poll_timeout_ms=200
        ),
    )
    sink = KafkaSink(kafka, KafkaSinkConfig(topic=alerts, delivery_timeout_ms=2_000))
    assert [r.value for r in poll_through(source, 2, 20)] == [b"0", b"1"]
    sink.add(make_alert("0"))
    sink.flush()
    source.commit()
    assert [r.value for r in poll_through(source, 2, 20)] == [b"2", b"3"]
    sink.add(make_alert("2"))

    mortal_kafka.kill()
    # the broker may die before, under or after what is sent
    lost = "ECONN|Connection reset|Broken pipe|disconnected"
    with pytest.raises(Retryable, match=rf"cannot send to topic {alerts}: .*({lost})"):  # noqa: PT012
        sink.add(make_alert("3"))
        sink.flush()
    sink.reset()
    with pytest.raises(Retryable, match=r"cannot reach a broker of .*ECONNREFUSED"):
        sink.add(make_alert("2"))
    assert not source.connected
    with pytest.raises(Retryable, match=r"no broker of .* answers"):
        poll_until_told(source)
    mortal_kafka.start()

    # what was handed out and not committed comes again
    assert [r.value for r in poll_through(source, 2, 40)] == [b"2", b"3"]
    for event in ("2", "3"):
        sink.add(make_alert(event))
    sink.flush()
    source.commit()
    assert source.connected
    fill(mortal_kafka, events, [b"4"])
    assert [r.value for r in poll_through(source, 1, 20)] == [b"4"]
    assert {r.key for r in read(kafka, alerts, 3)} == {b"0", b"2", b"3"}
    source.close()
    sink.close()


def poll_until_told(source: KafkaSource) -> None:
    give_up_at = time.monotonic() + 20
    while time.monotonic() < give_up_at:
        assert source.poll() == []


def test_a_broker_that_forgot_everything_needs_a_reset() -> None:
    with EmbeddedBroker() as broker:
        topic = new_topic(broker)
        sink = KafkaSink(
            KafkaConfig(bootstrap_servers=broker.bootstrap_servers, request_timeout_ms=1_000),
            KafkaSinkConfig(topic=topic, delivery_timeout_ms=1_000),
        )
        sink.add(make_alert("first"))
        sink.flush()
    with pytest.raises(Retryable, match=f"cannot send to topic {topic}"):  # noqa: PT012
        sink.add(make_alert("second"))
        sink.flush()
    sink.close()
