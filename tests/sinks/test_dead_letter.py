"""KafkaDeadLetters against real brokers: every byte is kept, and the reason stands beside it."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime
from typing import Any

import pytest

from monitor.config.sections import KafkaConfig
from monitor.errors import BadEvent
from monitor.events.event import Origin, Record
from monitor.sinks.dead_letter import KafkaDeadLetters
from tests.brokers import AnyBroker, ApacheKafka
from tests.topics import new_topic, read

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]

ORIGIN = Origin("llm.events", 3, 17)


def delivered(broker: AnyBroker, records: list[Record]) -> list[Any]:
    kafka = KafkaConfig(bootstrap_servers=broker.bootstrap_servers)
    topic = new_topic(broker)
    letters = KafkaDeadLetters(kafka, topic)
    for record in records:
        letters.add(record, BadEvent("not JSON: ✗", "$.a\udc00"))
    letters.flush()
    letters.close()
    return read(kafka, topic, len(records))


def test_keeps_key_value_and_headers(broker: AnyBroker) -> None:
    records = [
        Record(b"\xff\xfe\x00", ORIGIN, key=b"\x80", headers=(("a", b"1"), ("a", b"2"), ("latentwatch-path", b"old"))),
        Record(b"", ORIGIN),
        Record(None, ORIGIN, key=b"k"),
        Record(None, ORIGIN),
    ]
    found = delivered(broker, records)
    assert [(r.key, r.value) for r in found] == [(b"\x80", b"\xff\xfe\x00"), (None, b""), (b"k", None), (None, b"")]
    first = found[0].headers
    assert first[:3] == [("a", b"1"), ("a", b"2"), ("latentwatch-path", b"old")]
    ours = dict(first[3:])
    assert datetime.fromisoformat(ours.pop("latentwatch-time").decode()).tzinfo is not None
    assert ours == {
        "latentwatch-reason": "not JSON: ✗".encode(),
        "latentwatch-path": b"$.a\\udc00",
        "latentwatch-topic": b"llm.events",
        "latentwatch-partition": b"3",
        "latentwatch-offset": b"17",
    }
    assert "latentwatch-value" not in dict(found[1].headers)
    assert dict(found[3].headers)["latentwatch-value"] == b"null"


def test_the_client_sets_no_limit(embedded_broker: AnyBroker) -> None:
    value = secrets.token_bytes(5_000_000)
    (found,) = delivered(embedded_broker, [Record(value, ORIGIN)])
    assert found.value == value


def test_a_value_too_large_for_the_broker_is_cut_and_says_so(apache_kafka: ApacheKafka) -> None:
    value = secrets.token_bytes(1_500_000)
    large, small = sorted(
        delivered(apache_kafka, [Record(value, ORIGIN, key=b"large"), Record(b"x", ORIGIN, key=b"small")]),
        key=lambda r: bytes(r.key),
    )
    assert large.value == value[:900_000]
    marks = dict(large.headers)
    assert marks["latentwatch-original-bytes"] == b"1500000"
    assert marks["latentwatch-original-sha256"] == hashlib.sha256(value).hexdigest().encode()
    assert small.value == b"x"
    assert "latentwatch-original-bytes" not in dict(small.headers)


def test_headers_and_key_go_when_they_are_what_is_too_large(apache_kafka: ApacheKafka) -> None:
    huge = secrets.token_bytes(1_200_000)
    records = [Record(b"v", ORIGIN, key=b"k", headers=(("h", huge),)), Record(b"v", ORIGIN, key=huge)]
    by_header, by_key = delivered(apache_kafka, records)
    assert (by_header.key, dict(by_header.headers)["latentwatch-dropped"]) == (b"k", b"headers")
    assert by_key.key is None
    assert dict(by_key.headers)["latentwatch-dropped"].endswith(b"key")
