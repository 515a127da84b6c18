"""deploy/strimzi: the rights of the KafkaUser are enough on a real Apache Kafka, and each of them is needed."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
)

from monitor.config.sections import Config
from monitor.errors import BadEvent, LatentwatchError, Retryable
from monitor.events.event import Record
from monitor.kafka.check import broker_problems
from monitor.kafka.client import client_settings
from monitor.sinks.dead_letter import KafkaDeadLetters
from monitor.sinks.kafka import KafkaSink, KafkaSinkConfig
from monitor.sources.kafka import KafkaSource
from tests.alert_factory import make_alert
from tests.brokers import SCRAM_PASSWORD, ApacheKafka
from tests.deploy.manifest import REPOSITORY, documents_in
from tests.topics import fill

STRIMZI = REPOSITORY / "deploy/strimzi"
TOPICS = {d["metadata"]["name"]: d["spec"] for d in documents_in(STRIMZI / "kafka-topics.yaml")}
(USER,) = documents_in(STRIMZI / "kafka-user.yaml")
RIGHTS = [
    (ResourceType[acl["resource"]["type"].upper()], acl["resource"]["name"], ACLOperation[operation.upper()])
    for acl in USER["spec"]["authorization"]["acls"]
    for operation in acl["operations"]
]
SAID = {
    "llm.events": "not authorised to read topic llm.events: grant READ and DESCRIBE on it",
    "latentwatch": "not authorised to join group latentwatch: grant READ on it",
    "llm.alerts": "cannot send to topic llm.alerts",
    "llm.events.dead-letter": "cannot send to topic llm.events.dead-letter",
}
"""What latentwatch says without each right."""


def _acl(right: tuple[ResourceType, str, ACLOperation]) -> ACL:
    kind, name, operation = right
    return ACL("User:scram", "*", operation, ACLPermissionType.ALLOW, ResourcePattern(kind, name))


class App:
    """latentwatch's own source, sink and dead letters, logged in as the KafkaUser."""

    def __init__(self, broker: ApacheKafka) -> None:
        login = {"sasl_mechanism": "SCRAM-SHA-512", "sasl_username": "scram", "sasl_password": SCRAM_PASSWORD}
        self.config = Config.model_validate({
            "kafka": broker.admin_config().model_dump() | login,
            "source": {"session_timeout_ms": 4_000, "heartbeat_interval_ms": 300, "poll_timeout_ms": 200},
        })  # fmt: skip
        self._broker = broker
        self._admin = KafkaAdminClient(**client_settings(broker.admin_config()))

    def allow(self, rights: list[tuple[ResourceType, str, ACLOperation]]) -> None:
        """Leaves the user with these rights and no others, once the broker's authorizer has learnt of them."""
        for right in RIGHTS:
            self._admin.delete_acls([_acl(right)])
        self._admin.create_acls([_acl(right) for right in rights])
        everything = ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY)
        held = ACLFilter("User:scram", None, ACLOperation.ANY, ACLPermissionType.ANY, everything)
        for _ in range(200):
            if set(self._admin.describe_acls(held)[0]) == {_acl(right) for right in rights}:
                return
            time.sleep(0.05)
        pytest.fail("the broker never learnt of the rights")

    def work(self) -> None:
        """Takes a record, delivers an alert and a dead letter, and commits. Raises what latentwatch would log."""
        kafka, source = self.config.kafka, KafkaSource(self.config.kafka, self.config.source)
        sink = KafkaSink(kafka, KafkaSinkConfig())
        letters = KafkaDeadLetters(kafka, self.config.source.dead_letter_topic)
        fill(self._broker, self.config.source.topic, [b"not an event"])
        try:
            record = _first(source)
            sink.add(make_alert())
            sink.flush()
            letters.add(record, BadEvent("not JSON", "$"))
            letters.flush()
            source.commit()
        finally:
            for part in (source, sink, letters):
                part.close()

    def close(self) -> None:
        self._admin.close()


def _first(source: KafkaSource) -> Record:
    give_up_at, last = time.monotonic() + 30, Retryable("nothing was read")
    while time.monotonic() < give_up_at:
        try:
            for record in source.poll():
                assert isinstance(record, Record)
                return record
        except Retryable as e:
            last = e
            if "authorised" in str(e):
                raise
    raise last


@pytest.fixture(scope="module")
def app(secure_kafka: ApacheKafka) -> Iterator[App]:
    secure_kafka.create_topics(dict.fromkeys(TOPICS, 1))
    found = App(secure_kafka)
    yield found
    found.close()


@pytest.mark.kafka
@pytest.mark.timeout(120)
def test_the_rights_of_the_user_are_enough(app: App) -> None:
    app.allow(RIGHTS)
    app.work()
    assert broker_problems(app.config) == []


@pytest.mark.kafka
@pytest.mark.timeout(120)
@pytest.mark.parametrize("missing", RIGHTS, ids=[name for _, name, _ in RIGHTS])
def test_each_right_is_needed_and_its_lack_is_told(app: App, missing: tuple[ResourceType, str, ACLOperation]) -> None:
    _, name, operation = missing
    app.allow([right for right in RIGHTS if right != missing])
    with pytest.raises(LatentwatchError, match=re.escape(SAID[name])):
        app.work()
    (problem,) = broker_problems(app.config)
    assert f"grant User:scram {operation.name} on " in problem
    assert problem.endswith(f" {name}")


def test_topics_and_rights_are_those_of_the_default_config() -> None:
    config = Config()
    assert set(TOPICS) == {config.source.topic, "llm.alerts", config.source.dead_letter_topic}
    assert {name for _, name, _ in RIGHTS} == {*TOPICS, config.source.group_id}


def test_the_comment_names_the_same_rights() -> None:
    text = (STRIMZI / "kafka-user.yaml").read_text()
    commands = re.findall(r"--allow-principal User:latentwatch --operation (\w+) --(topic|group) (\S+)", text)
    assert [(kind.upper(), name, operation.upper()) for operation, kind, name in commands] == [
        (kind.name, name, operation.name) for kind, name, operation in RIGHTS
    ]


def test_a_topic_survives_the_loss_of_a_broker() -> None:
    for spec in TOPICS.values():
        assert spec["replicas"] > spec["config"]["min.insync.replicas"] >= 2
