"""Why a source has nothing to give: each reason by its own name, and over when its cause is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ResourcePattern,
    ResourceType,
)

from monitor.config.sections import KafkaConfig, SourceConfig
from monitor.errors import Retryable
from monitor.kafka.client import client_settings
from monitor.sources.kafka import KafkaSource
from tests.brokers import USER_PASSWORD, ApacheKafka
from tests.sources.polling import Open, lag, take, take_all, values
from tests.topics import fill, new_topic

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]


def failure(source: KafkaSource, kind: str, timeout_s: float = 30.0) -> str:
    """Polls until a poll fails for this kind of reason; what it says."""
    give_up_at, seen = time.monotonic() + timeout_s, list[tuple[str, str]]()
    while time.monotonic() < give_up_at:
        try:
            source.poll()
            continue
        except Retryable as e:
            seen.append((e.kind, str(e)))
        assert (source.unready, lag(source)) == (seen[-1][1], None)
        if seen[-1][0] == kind:
            return seen[-1][1]
        time.sleep(0.1)
    pytest.fail(f"no {kind}, but {seen[-3:]}")


def recovered(source: KafkaSource, count: int, timeout_s: float = 30.0) -> list[bytes | None]:
    """What comes once polls no longer fail."""
    give_up_at, found = time.monotonic() + timeout_s, []
    while len(found) < count and time.monotonic() < give_up_at:
        try:
            found += values(source.poll())
        except Retryable:
            time.sleep(0.1)
    assert source.unready == ""
    return found


@pytest.fixture
def admin(apache_kafka: ApacheKafka) -> Any:
    client = KafkaAdminClient(bootstrap_servers=apache_kafka.bootstrap_servers)
    yield client
    client.close()


def test_a_topic_that_is_missing_may_come_later(apache_kafka: ApacheKafka, open_source: Open) -> None:
    topic = "late-" + new_topic(apache_kafka)
    source = open_source(apache_kafka, topic)
    assert failure(source, "topic_missing") == f"topic {topic} does not exist"
    apache_kafka.create_topics({topic: 1})
    fill(apache_kafka, topic, [b"0"])
    assert recovered(source, 1) == [b"0"]
    assert lag(source) == 0


def test_a_topic_deleted_while_running_and_created_again_is_read_from_its_start(
    apache_kafka: ApacheKafka, open_source: Open, admin: Any
) -> None:
    topic = new_topic(apache_kafka)
    fill(apache_kafka, topic, [b"old-%d" % n for n in range(3)])
    source = open_source(apache_kafka, topic)
    assert len(take_all(source)) == 3
    source.commit()
    admin.delete_topics([topic])
    assert failure(source, "topic_missing") == f"topic {topic} does not exist"
    source.commit()
    apache_kafka.create_topics({topic: 1})
    # more than the old topic had: the old position must not count
    fill(apache_kafka, topic, [b"%d" % n for n in range(5)])
    assert recovered(source, 5) == [b"%d" % n for n in range(5)]
    source.commit()
    fill(apache_kafka, topic, [b"5"])
    assert values(take(source, 1)) == [b"5"]


@pytest.fixture
def grant(secure_kafka: ApacheKafka) -> Any:
    """Gives or takes (`allow=False`) rights of the user app."""
    client = KafkaAdminClient(**client_settings(secure_kafka.admin_config()))

    def change(kind: ResourceType, name: str, operation: ACLOperation, allow: bool = True) -> None:
        if allow:
            client.create_acls([ACL("User:app", "*", operation, ACLPermissionType.ALLOW, ResourcePattern(kind, name))])
        else:
            client.delete_acls(
                [ACLFilter("User:app", "*", operation, ACLPermissionType.ALLOW, ResourcePattern(kind, name))]
            )

    yield change
    client.close()


Grant = Callable[..., None]


@pytest.fixture
def app(secure_kafka: ApacheKafka) -> Callable[[str, str], KafkaSource]:
    opened: list[KafkaSource] = []

    def open_(topic: str, group: str) -> KafkaSource:
        login = {"sasl_username": "app", "sasl_password": USER_PASSWORD}
        kafka = KafkaConfig.model_validate(secure_kafka.admin_config().model_dump() | login)
        settings = {"session_timeout_ms": 4_000, "heartbeat_interval_ms": 300, "poll_timeout_ms": 200}
        opened.append(KafkaSource(kafka, SourceConfig.model_validate({"topic": topic, "group_id": group} | settings)))
        return opened[-1]

    yield open_
    for source in opened:
        source.close()


def test_each_missing_permission_is_named_and_waited_for(
    secure_kafka: ApacheKafka, app: Callable[[str, str], KafkaSource], grant: Grant
) -> None:
    topic = new_topic(secure_kafka)
    group = f"group-{topic}"
    source = app(topic, group)
    assert failure(source, "group_unauthorized") == f"not authorised to join group {group}: grant READ on it"
    grant(ResourceType.GROUP, group, ACLOperation.READ)
    told = f"not authorised to read topic {topic}: grant READ and DESCRIBE on it"
    assert failure(source, "topic_unauthorized") == told
    # one that may see the topic, but not read it
    grant(ResourceType.TOPIC, topic, ACLOperation.DESCRIBE)
    assert failure(source, "topic_unauthorized") == told
    grant(ResourceType.TOPIC, topic, ACLOperation.READ)
    fill(secure_kafka, topic, [b"0"])
    assert recovered(source, 1) == [b"0"]
    source.commit()


def test_a_permission_that_is_taken_away_is_told(
    secure_kafka: ApacheKafka, app: Callable[[str, str], KafkaSource], grant: Grant
) -> None:
    topic = new_topic(secure_kafka)
    grant(ResourceType.TOPIC, topic, ACLOperation.READ)
    grant(ResourceType.GROUP, f"group-{topic}", ACLOperation.READ)
    fill(secure_kafka, topic, [b"0"])
    source = app(topic, f"group-{topic}")
    assert recovered(source, 1) == [b"0"]
    grant(ResourceType.TOPIC, topic, ACLOperation.READ, allow=False)
    failure(source, "topic_unauthorized")
