"""KafkaSink against real brokers: after a flush every alert is on the topic, even a very large one."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from kafka import KafkaAdminClient

from monitor.alerts.alert import SCHEMA, Alert
from monitor.config.sections import KafkaConfig
from monitor.errors import Permanent, Retryable
from monitor.kafka import producer
from monitor.sinks.kafka import KafkaSink, KafkaSinkConfig
from tests.brokers import USER_PASSWORD, AnyBroker, ApacheKafka
from tests.sample_alerts import make_alert
from tests.topics import new_topic, read

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def config(broker: AnyBroker) -> KafkaConfig:
    return KafkaConfig(bootstrap_servers=broker.bootstrap_servers)


@pytest.fixture
def small_topic(apache_kafka: ApacheKafka) -> str:
    """A topic that takes 4,000 bytes at most."""
    topic = f"small-{uuid.uuid4().hex}"
    options = {"num_partitions": 1, "replication_factor": 1, "configs": {"max.message.bytes": "4000"}}
    admin = KafkaAdminClient(bootstrap_servers=apache_kafka.bootstrap_servers)
    admin.create_topics({topic: options})
    admin.wait_for_topics([topic])
    admin.close()
    return topic


def headers(record: Any) -> dict[str, bytes]:
    return dict(record.headers)


@pytest.mark.parametrize("codec", ["none", "gzip", "lz4", "zstd"])
def test_delivers_with_key_and_headers(broker: AnyBroker, codec: Any) -> None:
    topic = new_topic(broker)
    sink = KafkaSink(config(broker), KafkaSinkConfig(topic=topic, compression_type=codec))
    alerts = [make_alert("first ✓", traceparent=TRACEPARENT), make_alert("second")]
    for alert in alerts:
        sink.add(alert)
    sink.flush()
    sink.flush()
    sink.close()
    first, second = read(config(broker), topic, 2)
    assert [Alert.from_json(r.value) for r in (first, second)] == alerts
    assert first.key == "first ✓".encode()
    assert headers(first) == {
        "latentwatch-schema": SCHEMA.encode(),
        "latentwatch-alert-id": alerts[0].id.encode(),
        "latentwatch-severity": b"high",
        "latentwatch-category": b"unsafe_code",
        "traceparent": TRACEPARENT.encode(),
    }
    assert "traceparent" not in headers(second)


def test_more_than_may_be_in_flight(broker: AnyBroker) -> None:
    topic = new_topic(broker)
    sink = KafkaSink(config(broker), KafkaSinkConfig(topic=topic))
    alert = make_alert()
    for _ in range(2_100):
        sink.add(alert)
    sink.flush()
    sink.close()
    assert len(read(config(broker), topic, 2_100)) == 2_100


def test_an_alert_too_large_loses_content_then_tokens_then_features(
    apache_kafka: ApacheKafka, small_topic: str
) -> None:
    sink = KafkaSink(config(apache_kafka), KafkaSinkConfig(topic=small_topic, compression_type="none"))
    sink.add(make_alert("small"))
    sink.add(make_alert("long text", text="x" * 9_000))
    sink.add(make_alert("many tokens", text="x" * 9_000, tokens=1_000))
    sink.add(make_alert("last"))
    sink.flush()
    sink.add(make_alert("afterwards"))
    sink.flush()
    found = {r.key.decode(): r for r in read(config(apache_kafka), small_topic, 5)}
    assert len(found) == 5
    reduced = {key: headers(r).get("latentwatch-reduced") for key, r in found.items()}
    assert reduced == {
        "small": None, "long text": b"content", "many tokens": b"tokens", "last": None, "afterwards": None,
    }  # fmt: skip
    assert Alert.from_json(found["long text"].value) == make_alert("long text")
    assert Alert.from_json(found["many tokens"].value).features[0].tokens == ()
    sink.add(make_alert("i" * 5_000))
    with pytest.raises(Permanent, match=r"even the smallest form .* raise max\.message\.bytes"):
        sink.flush()
    sink.close()


def test_a_missing_topic_is_retryable_and_named(apache_kafka: ApacheKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producer, "_MAX_BLOCK_MS", 500)
    sink = KafkaSink(config(apache_kafka), KafkaSinkConfig(topic="no-such-topic"))
    with pytest.raises(Retryable, match="topic no-such-topic: it does not exist; create it") as caught:
        sink.add(make_alert())
    assert caught.value.kind == "topic_missing"
    sink.close()


def test_no_permission_is_permanent(secure_kafka: ApacheKafka) -> None:
    topic = new_topic(secure_kafka)
    kafka = secure_kafka.admin_config().model_dump() | {"sasl_username": "nobody", "sasl_password": USER_PASSWORD}
    sink = KafkaSink(KafkaConfig.model_validate(kafka), KafkaSinkConfig(topic=topic))
    with pytest.raises(Permanent, match=f"topic {topic}: .*TopicAuthorizationFailed"):  # noqa: PT012
        sink.add(make_alert())
        sink.flush()
    sink.close()


def test_reset_forgets_and_goes_on(broker: AnyBroker) -> None:
    topic = new_topic(broker)
    sink = KafkaSink(config(broker), KafkaSinkConfig(topic=topic))
    sink.add(make_alert("before"))
    sink.flush()
    sink.reset()
    sink.add(make_alert("after"))
    sink.flush()
    sink.close()
    assert [r.key for r in read(config(broker), topic, 2)] == [b"before", b"after"]
