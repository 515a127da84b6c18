"""A sidecar that is killed loses nothing; one that is told to end does so in order."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.alerts.alert import Alert
from monitor.demo.broker import EmbeddedBroker
from tests.brokers import AnyBroker, ApacheKafka, kafka_home
from tests.integration.bad_records import BadRecord, small_bad_records
from tests.integration.short_events import short_event
from tests.integration.sidecar import (
    EVENTS_DONE,
    READY_S,
    Sidecar,
    alerts_in,
    every_event_alerts,
    latentwatch,
    set_count,
    write_config,
)
from tests.integration.stream import Outgoing, Stream

pytestmark = [pytest.mark.kafka, pytest.mark.model, pytest.mark.timeout(600)]

GOOD = 60
SEED = 1


def records() -> list[Outgoing]:
    """The good events, and after every fifth one a record that is none."""
    mixed: list[Outgoing] = []
    for n in range(GOOD):
        mixed.append(Outgoing(short_event("kill", n)))
        if n % 5 == 4:
            bad = _bad(n)
            mixed.append(Outgoing(bad.value, f"{n} {bad.name}".encode()))
    return mixed


def _bad(n: int) -> BadRecord:
    kinds = small_bad_records()
    return kinds[n // 5 % len(kinds)]


@pytest.fixture(scope="module")
def clean_ids(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The alert ids of a run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("clean")
    (folder / "events.jsonl").write_bytes(b"".join(short_event("kill", n) + b"\n" for n in range(GOOD)))
    (folder / "config.yaml").write_text(json.dumps({"feature_sets": {"overrides": every_event_alerts()}}))
    done = latentwatch(
        "scan", str(folder / "events.jsonl"), "-c", str(folder / "config.yaml"), "-o", str(folder / "out.jsonl")
    )
    assert done.returncode == 0, done.stderr
    ids = [alert.id for alert in alerts_in(folder / "out.jsonl")]
    assert len(ids) == len(set(ids)) == GOOD * set_count()
    return set(ids)


def test_killed_at_random_and_restarted_nothing_is_lost(
    broker: AnyBroker, stream: Stream, clean_ids: set[str], tmp_path: Path
) -> None:
    chance = random.Random(SEED)  # noqa: S311
    stream.publish(records())
    small = {"source": {"max_poll_records": 4, "session_timeout_ms": 2_000, "heartbeat_interval_ms": 300}}
    config = write_config(tmp_path, broker, stream, small)
    file = tmp_path / "alerts.jsonl"

    with Sidecar(config) as sidecar:  # while it loads
        sidecar.until(lambda: sidecar.get("/livez")[0] == 200, "live", READY_S)
        time.sleep(chance.uniform(0, 1))
        sidecar.kill()
    assert not file.read_bytes() if file.exists() else True
    with Sidecar(config) as sidecar:  # in the middle of a batch
        sidecar.until(lambda: file.exists() and file.stat().st_size > 0, "the first alerts", READY_S)
        time.sleep(chance.uniform(0, 0.5))
        sidecar.kill()
    for _ in range(2):  # between the flush of the file, that of the topic, and the commit
        with Sidecar(config) as sidecar:
            size = file.stat().st_size
            give_up_at = time.monotonic() + READY_S
            while file.stat().st_size <= size:
                assert time.monotonic() < give_up_at, sidecar.tail()
                time.sleep(0.001)  # leaves the core to the sidecar
            time.sleep(chance.uniform(0, 0.01))
            sidecar.kill()
    assert not stream.all_committed()
    with Sidecar(config) as sidecar:
        sidecar.until(stream.all_committed, "everything committed")
        assert sidecar.stop(30) == 0

    for alerts in (stream.delivered(), alerts_in(file)):
        assert {alert.id for alert in alerts} == clean_ids
        _check_repetitions(alerts)
    refused = Counter(record.key.decode() for record in stream.refused())
    assert set(refused) == {f"{n} {_bad(n).name}" for n in range(4, GOOD, 5)}


def _check_repetitions(alerts: list[Alert]) -> None:
    """What came twice came as the same alert: same event, set and place; at most a few batches did."""
    first: dict[str, Alert] = {}
    for alert in alerts:
        other = first.setdefault(alert.id, alert)
        assert (alert.event, alert.set, alert.segment) == (other.event, other.set, other.segment)
        # sums in another order, with packed weights or without, now and then move a latent across its threshold
        assert alert.score == pytest.approx(other.score, rel=1e-5, abs=5e-3)
    assert len(alerts) <= len(first) + 3 * 4 * set_count()


def test_sigterm_drains_commits_and_leaves_the_group(broker: AnyBroker, stream: Stream, tmp_path: Path) -> None:
    stream.publish(records())
    apache = isinstance(broker, ApacheKafka)
    # the broker keeps a member that has not left for a session timeout; the embedded one lets a join last half of it
    source = {"max_poll_records": 4, "session_timeout_ms": 60_000 if apache else 6_000}
    with Sidecar(write_config(tmp_path, broker, stream, {"source": source})) as sidecar:
        sidecar.until(lambda: bool(stream.committed()), "the first commit", READY_S)
        assert sidecar.stop(60) == 0
        if apache:  # the embedded broker doesn't tell the state of a group
            assert stream.group_state() == "Empty"
    committed = stream.committed()
    assert 0 < sum(committed.values()) < sum(stream.published.values())
    # exactly what was committed is delivered
    for alerts in (stream.delivered(), alerts_in(tmp_path / "alerts.jsonl")):
        origins = {(a.event.origin.partition, a.event.origin.offset) for a in alerts}
        assert all(offset < committed.get(partition, 0) for partition, offset in origins)
        refused = {
            (int(told["latentwatch-partition"]), int(told["latentwatch-offset"]))
            for told in (dict(record.headers) for record in stream.refused())
        }
        assert len(origins) + len(refused) == sum(committed.values())
        assert len(alerts) == len(origins) * set_count()


@pytest.fixture
def mortal_kafka(tmp_path: Path) -> Iterator[ApacheKafka]:
    """An Apache Kafka that the test may kill."""
    home = kafka_home()
    if home is None:
        pytest.skip("set KAFKA_HOME to an Apache Kafka download (and install Java) to run this test")
    folder = tmp_path / "kafka"
    folder.mkdir()
    with ApacheKafka(home, folder) as broker:
        yield broker


def test_sigterm_while_the_broker_is_away_commits_nothing(mortal_kafka: ApacheKafka, tmp_path: Path) -> None:
    stream = Stream(mortal_kafka)
    stream.publish(records())
    config = write_config(
        tmp_path,
        mortal_kafka,
        stream,
        {"source": {"max_poll_records": 4}, "sinks": {"kafka": {"delivery_timeout_ms": 3_000}}},
    )
    with Sidecar(config) as sidecar:
        sidecar.until(lambda: (sidecar.metric(EVENTS_DONE) or 0) > 0, "the first batch", READY_S)
        mortal_kafka.kill()
        sidecar.until(lambda: "trying again" in sidecar.tail(), "the outage noticed", 60)
        assert sidecar.stop(20) == 0
    mortal_kafka.start()
    committed = stream.committed()
    delivered = {(a.event.origin.partition, a.event.origin.offset) for a in stream.delivered()}
    refused = {int(dict(r.headers)["latentwatch-offset"]) for r in stream.refused()}
    assert sum(committed.values()) <= len(delivered) + len(refused)
    assert sum(committed.values()) < sum(stream.published.values())


def test_sigterm_while_there_never_was_a_broker(tmp_path: Path) -> None:
    with EmbeddedBroker() as broker:
        stream = Stream(broker)
        config = write_config(tmp_path, broker, stream)
    with Sidecar(config) as sidecar:
        sidecar.until(
            lambda: f"broker of {broker.bootstrap_servers}" in sidecar.get("/readyz")[1],
            "the missing broker noticed",
            READY_S,
        )
        assert sidecar.get("/readyz")[0] == 503
        assert sidecar.get("/livez")[0] == 200
        assert sidecar.stop(20) == 0
