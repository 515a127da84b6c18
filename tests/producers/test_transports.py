"""KafkaTransport and HttpTransport against a real broker and a real intake."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from monitor.config.http import HttpConfig
from monitor.config.sections import KafkaConfig, SourceConfig
from monitor.demo.broker import EmbeddedBroker
from monitor.errors import ConfigError, Permanent, Retryable
from monitor.events.event import EventLimits
from monitor.events.parse import parse
from monitor.producers.http import HttpTransport
from monitor.producers.kafka import KafkaTransport
from monitor.producers.publisher import Encoded, Publisher, PublisherCounts
from monitor.producers.transport import Message
from monitor.sources.http import HttpSource
from tests.brokers import ApacheKafka, free_ports
from tests.sources.test_http import Counts
from tests.topics import new_topic, read

TRACEPARENT = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")


def message(number: int) -> Message:
    return Message(json.dumps({"id": f"e{number}", "response": "Hello."}).encode(), (TRACEPARENT,))


# ---- Kafka


@pytest.mark.kafka
def test_messages_arrive_on_the_topic_with_their_headers(embedded_broker: EmbeddedBroker) -> None:
    kafka = KafkaConfig(bootstrap_servers=embedded_broker.bootstrap_servers)
    topic = new_topic(embedded_broker)
    publisher = Publisher(KafkaTransport(kafka, topic))
    for number in range(5):
        publisher.publish(Encoded(message(number)))
    publisher.close(60)
    assert publisher.counts() == PublisherCounts(published=5, dropped=0, waiting=0)
    records = read(kafka, topic, 5)
    assert [json.loads(r.value)["id"] for r in records] == [f"e{n}" for n in range(5)]
    assert list(records[0].headers) == [TRACEPARENT]


@pytest.mark.kafka
def test_a_message_that_the_broker_finds_too_large_is_dropped_alone(apache_kafka: ApacheKafka) -> None:
    kafka = KafkaConfig(bootstrap_servers=apache_kafka.bootstrap_servers)
    topic = new_topic(apache_kafka)
    publisher = Publisher(KafkaTransport(kafka, topic))
    huge = Message(os.urandom(1_500_000))
    for item in (message(0), huge, message(1)):
        publisher.publish(Encoded(item))
    publisher.close(60)
    counts = publisher.counts()
    assert counts.dropped == 1
    assert {json.loads(r.value)["id"] for r in read(kafka, topic, 2)} == {"e0", "e1"}


# ---- HTTP


class Intake:
    """A source and its address."""

    def __init__(self, folder: Path, **config: object) -> None:
        self.config = HttpConfig.model_validate({"port": 0, **config})
        check = partial(parse, limits=EventLimits())
        self.source = HttpSource(self.config, SourceConfig(), 10_000, check, Counts())
        self.url = f"http://127.0.0.1:{self.source.port}/v1/events"


@pytest.fixture
def intake(tmp_path: Path) -> Iterator[Intake]:
    (tmp_path / "token").write_text("t")
    found = Intake(tmp_path, token_file=tmp_path / "token", max_records=2)
    yield found
    found.source.close()


def test_messages_arrive_at_the_intake(intake: Intake) -> None:
    transport = HttpTransport(intake.url, token_file=intake.config.token_file)
    transport.send([message(0), message(1)])
    transport.close()
    records = intake.source.poll()
    assert [json.loads(r.value or b"")["id"] for r in records] == ["e0", "e1"]
    assert records[0].headers == (TRACEPARENT,)


def test_a_unix_socket(tmp_path: Path) -> None:
    found = Intake(tmp_path, socket=tmp_path / "events.sock")
    transport = HttpTransport("http://localhost/v1/events", found.config.socket)
    transport.send([message(0)])
    transport.close()
    assert len(found.source.poll()) == 1
    found.source.close()


def test_what_time_changes_is_retryable_and_a_bad_event_is_not(intake: Intake, tmp_path: Path) -> None:
    transport = HttpTransport(intake.url, token_file=intake.config.token_file)
    with pytest.raises(Permanent, match=r"answers 400: \$: not a format that is read"):
        transport.send([Message(b'{"a": 1}')])
    transport.send([message(0), message(1)])
    with pytest.raises(Retryable, match="answers 429: as many events are held as may be") as full:
        transport.send([message(2)])
    assert full.value.retry_after_s == 1.0
    (tmp_path / "token").write_text("other")
    wrong = HttpTransport(intake.url)
    with pytest.raises(Retryable, match="answers 401"):
        wrong.send([message(2)])
    wrong.close()
    (tmp_path / "token").unlink()
    with pytest.raises(Retryable, match="token: cannot be read: FileNotFoundError"):
        transport.send([message(2)])
    transport.close()


def test_an_intake_that_is_down_is_retryable() -> None:
    (port,) = free_ports(1)
    transport = HttpTransport(f"http://127.0.0.1:{port}/v1/events")
    with pytest.raises(Retryable, match="cannot reach http"):
        transport.send([message(0)])
    transport.close()


def test_what_is_no_url() -> None:
    with pytest.raises(ConfigError, match="expected a URL"):
        HttpTransport("127.0.0.1:9465")
