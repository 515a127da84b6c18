"""Exactly once on Apache Kafka: a consumer that reads only what is committed sees every alert once."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import UnsupportedVersionError

from monitor.alerts.alert import Alert
from monitor.config.load import load_config
from monitor.config.sections import KafkaConfig, SourceConfig
from monitor.demo.broker import EmbeddedBroker
from monitor.errors import BadEvent, ConfigError, Permanent, Retryable, Rewound
from monitor.events.event import Origin, Record
from monitor.kafka.transaction import TransactionalProducer
from monitor.sinks.dead_letter import KafkaDeadLetters
from monitor.sinks.kafka import KafkaSink, KafkaSinkConfig
from monitor.sources.kafka import KafkaSource
from tests.brokers import ApacheKafka
from tests.chaos.worker import DIE
from tests.feature_set_factory import write_set
from tests.integration.stream import Outgoing, Stream
from tests.sample_alerts import make_alert
from tests.sources.polling import take

ROOT = Path(__file__).parents[1]
pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]


@pytest.fixture
def stream(apache_kafka: ApacheKafka) -> Stream:
    return Stream(apache_kafka)


@pytest.fixture
def kafka(apache_kafka: ApacheKafka) -> KafkaConfig:
    return KafkaConfig(bootstrap_servers=apache_kafka.bootstrap_servers, request_timeout_ms=5_000)


class Member:
    """Source, sink and dead letters of one process, in one transaction."""

    def __init__(self, kafka: KafkaConfig, stream: Stream, name: str) -> None:
        self.transaction = TransactionalProducer(kafka, f"{stream.group}-{name}")
        self.sink = KafkaSink(kafka, KafkaSinkConfig(topic=stream.alerts), self.transaction)
        self.dead_letters = KafkaDeadLetters(kafka, stream.dead_letters, self.transaction)
        source = SourceConfig(
            topic=stream.events,
            group_id=stream.group,
            session_timeout_ms=4_000,
            heartbeat_interval_ms=300,
            poll_timeout_ms=200,
        )
        self.source = KafkaSource(kafka, source, self.transaction)

    def deliver(self, *names: str) -> None:
        """Sends an alert for each name; nobody sees it before the commit."""
        for name in names:
            self.sink.add(make_alert(name))
        self.sink.flush()

    def close(self) -> None:
        self.source.close()
        self.transaction.close()


@pytest.fixture
def member(kafka: KafkaConfig, stream: Stream) -> Iterator[Member]:
    made = Member(kafka, stream, "a")
    yield made
    made.close()


def seen(stream: Stream) -> list[str]:
    """The events of the alerts that are committed."""
    return sorted(alert.event.id for alert in stream.delivered())


def visible(kafka: KafkaConfig, topic: str) -> int:
    """How many records of a topic are committed while a transaction may be open."""
    consumer = KafkaConsumer(
        bootstrap_servers=kafka.bootstrap_servers, isolation_level="read_committed", auto_offset_reset="earliest"
    )
    try:
        consumer.assign([TopicPartition(topic, n) for n in range(3)])
        return sum(len(records) for _ in range(5) for records in consumer.poll(timeout_ms=300).values())
    finally:
        consumer.close()


def publish(stream: Stream, count: int = 3) -> None:
    stream.publish([Outgoing(b"%d" % n) for n in range(count)])


def test_alerts_dead_letters_and_offsets_appear_together(member: Member, kafka: KafkaConfig, stream: Stream) -> None:
    publish(stream)
    assert len(take(member.source, 3)) == 3
    member.deliver("a", "b")
    member.dead_letters.add(Record(b"x", Origin("t", 0, 1)), BadEvent("bad"))
    member.dead_letters.flush()
    assert visible(kafka, stream.alerts) == 0
    assert sum(stream.committed().values()) == 0
    member.source.commit()
    assert seen(stream) == ["a", "b"]
    assert [record.value for record in stream.refused()] == [b"x"]
    assert stream.all_committed()


def test_what_is_taken_back_is_never_seen(member: Member, stream: Stream) -> None:
    publish(stream)
    take(member.source, 3)
    member.deliver("once", "twice")
    member.sink.reset()
    member.deliver("twice")
    member.source.commit()
    assert seen(stream) == ["twice"]


def test_a_batch_without_alerts_commits_its_offsets(member: Member, stream: Stream) -> None:
    publish(stream)
    take(member.source, 3)
    member.source.commit()
    assert stream.all_committed()


def test_a_second_process_of_the_same_id_takes_over_and_the_first_says_so(
    member: Member, kafka: KafkaConfig, stream: Stream
) -> None:
    publish(stream)
    take(member.source, 3)
    member.deliver("of the zombie")
    other = Member(kafka, stream, "a")
    try:
        other.transaction.open()
        with pytest.raises(Permanent, match=f"another process has taken over the transactional id {stream.group}-a"):
            member.source.commit()
        member.close()
        assert len(take(other.source, 3)) == 3
        other.deliver("of the new one")
        other.source.commit()
    finally:
        other.close()
    assert seen(stream) == ["of the new one"]


def test_a_partition_that_moves_takes_its_alerts_along(member: Member, kafka: KafkaConfig, stream: Stream) -> None:
    publish(stream, 6)
    mine = take(member.source, 6)
    member.deliver(*(r.value.decode() for r in mine if r.value is not None))
    other = Member(kafka, stream, "b")
    try:
        theirs: list[Any] = []
        give_up_at = time.monotonic() + 30
        while not theirs and time.monotonic() < give_up_at:
            theirs = list(other.source.poll())
            member.source.keep_alive()
        assert theirs
        with pytest.raises(Rewound, match="moved to another member"):
            member.source.commit()
        assert seen(stream) == []
        both: dict[Member, list[Any]] = {member: [], other: theirs}
        while sum(map(len, both.values())) < 6 and time.monotonic() < give_up_at:
            for one, records in both.items():
                records += one.source.poll()
        for one, records in both.items():
            one.deliver(*(r.value.decode() for r in records))
            one.source.commit()
    finally:
        other.close()
    assert seen(stream) == [str(n) for n in range(6)]
    assert stream.all_committed()


def test_an_alert_too_large_is_made_smaller_and_the_others_stay_whole(kafka: KafkaConfig, stream: Stream) -> None:
    small = f"small-{stream.alerts}"
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    options = {"num_partitions": 1, "replication_factor": 1, "configs": {"max.message.bytes": "4000"}}
    admin.create_topics({small: options})
    admin.wait_for_topics([small])
    admin.close()
    member = Member(kafka, stream, "large")
    sink = KafkaSink(kafka, KafkaSinkConfig(topic=small, compression_type="none"), member.transaction)
    large = make_alert("large", text=secrets.token_hex(4_500))
    publish(stream)
    try:
        take(member.source, 3)
        for attempt in range(2):
            sink.add(make_alert("fits"))
            sink.add(large)
            if attempt == 0:
                with pytest.raises(Retryable, match="smaller form"):
                    sink.flush()
                sink.reset()
        sink.flush()
        member.source.commit()
    finally:
        member.close()
    found = {Alert.from_json(r.value).event.id: dict(r.headers) for r in stream.read(small, 1)}
    assert set(found) == {"fits", "large"}
    assert "latentwatch-reduced" not in found["fits"]
    assert found["large"]["latentwatch-reduced"] == b"content"


def test_brokers_without_transactions_are_refused_in_words(
    kafka: KafkaConfig, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: KafkaProducer) -> None:
        raise UnsupportedVersionError

    monkeypatch.setattr(KafkaProducer, "init_transactions", refuse)
    member = Member(kafka, stream, "old")
    with pytest.raises(Permanent, match=r"have no transactions; set delivery.guarantee: at_least_once"):
        member.source.poll()
    member.close()


# ---- the whole process


def config(folder: Path, broker: ApacheKafka | EmbeddedBroker, stream: Stream, **more: Any) -> Path:
    write_set(folder / "sets" / "a.yaml")
    path = folder / "config.yaml"
    source = {"topic": stream.events, "group_id": stream.group, "dead_letter_topic": stream.dead_letters}
    quick = {"session_timeout_ms": 4_000, "heartbeat_interval_ms": 300, "poll_timeout_ms": 200, "max_poll_records": 4}
    data = {
        "delivery": {"guarantee": "exactly_once"},
        "kafka": {"bootstrap_servers": broker.bootstrap_servers, "request_timeout_ms": 5_000},
        "source": source | quick,
        "sinks": {"kafka": {"topic": stream.alerts}},
        "feature_sets": {"paths": [str(folder / "sets")]},
        "health": {"enabled": False},
    }
    path.write_text(json.dumps({**data, **more}))
    return path


def worker(config: Path, **env: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.chaos.worker", "run", "-c", str(config)]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **env}, stderr=subprocess.PIPE, text=True)


def test_killed_between_delivery_and_commit_every_alert_is_seen_once(
    apache_kafka: ApacheKafka, kafka: KafkaConfig, stream: Stream, tmp_path: Path
) -> None:
    events = [json.dumps({"id": f"e{n}", "response": "x"}).encode() for n in range(30)]
    stream.publish([Outgoing(value) for value in events])
    path = config(tmp_path, apache_kafka, stream)
    killed = worker(path, **{DIE: "3"})
    _, said = killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL, said
    assert 0 < visible(kafka, stream.alerts) < 30
    last = worker(path)
    try:
        give_up_at = time.monotonic() + 60
        while not stream.all_committed() and time.monotonic() < give_up_at:
            time.sleep(0.2)
    finally:
        last.terminate()
        _, said = last.communicate(timeout=30)
    assert last.returncode == 0, said
    assert Counter(seen(stream)) == Counter(f"e{n}" for n in range(30))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"source": {"kind": "http"}, "sinks": {"jsonl": {"enabled": True}}}, "needs source.kind kafka"),
        ({"sinks": {"kafka": {"required": False}}}, "needs sinks.kafka, enabled and required"),
        ({"sinks": {"kafka": {"enabled": False}, "jsonl": {"enabled": True}}}, "needs sinks.kafka"),
    ],
)
def test_a_config_that_cannot_keep_the_promise_is_refused(
    changes: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(json.dumps({"delivery": {"guarantee": "exactly_once"}, **changes}))
    with pytest.raises(ConfigError, match=problem):
        load_config(path, {})
