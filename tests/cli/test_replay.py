"""`latentwatch replay` and `dead-letters replay`: what they print, deliver and leave as it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient
from typer.testing import CliRunner, Result

from monitor.alerts.alert import Alert
from monitor.assembly import artefacts, build
from monitor.cli.app import app
from monitor.config.sections import KafkaConfig
from monitor.engine import Evaluation
from monitor.errors import BadEvent
from monitor.events.event import Event, Origin, Record
from monitor.events.unread_range import UnreadRange
from monitor.kafka.client import client_settings
from monitor.sinks.dead_letter import KafkaDeadLetters
from monitor.sinks.skipped import KafkaSkipped
from tests.alert_factory import make_alert
from tests.brokers import ApacheKafka
from tests.feature_set_factory import write_set
from tests.topics import fill, new_topic, read


class WordEngine:
    """Makes an alert of every event with the config's word in its response; the word is kafka.client_id."""

    def __init__(self, word: str) -> None:
        self._word = word

    def evaluate(self, events: Sequence[Event], on_group: Callable[[], None] = lambda: None) -> Iterator[Evaluation]:
        for event in events:
            on_group()
            alerts: tuple[Alert, ...] = ()
            if self._word in event.response:
                alert = make_alert(event.id)
                place = alert.event.origin.model_copy(update={"offset": event.origin.offset})
                severity = "high" if self._word == "rose" else "low"
                about = alert.event.model_copy(update={"origin": place})
                alerts = (alert.model_copy(update={"severity": severity, "event": about}),)
            yield Evaluation(event, alerts, tokens=3, windows=1, fallback=False, seconds=0.1)


@pytest.fixture(autouse=True)
def _small_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_set(tmp_path / "sets" / "a.yaml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(artefacts, "load_artefacts", lambda *_: None)
    monkeypatch.setattr(build, "build_engine", lambda settings, *_: WordEngine(settings.kafka.client_id))


def run(*arguments: str) -> Result:
    env = {"COLUMNS": "120", "TERM": "dumb", "LATENTWATCH__FEATURE_SETS__PATHS": "[sets]"}
    return CliRunner().invoke(app, list(arguments), env=env)


def config(name: str, word: str, **more: Any) -> str:
    Path(name).write_text(json.dumps({"kafka": {"client_id": word, **more.pop("kafka", {})}, **more}))
    return name


def events(*responses: str) -> list[bytes]:
    return [json.dumps({"id": f"e{n}", "response": text}).encode() for n, text in enumerate(responses)]


def written(*lines: bytes) -> str:
    Path("events.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    return "events.jsonl"


def test_a_file_with_one_config_is_counted() -> None:
    file = written(*events("a rose", "none", "a rose"), b"{}")
    done = run("replay", file, "-c", config("live.yaml", "rose"))
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[1].split() == ["unsafe-code", "2"]
    assert "config: 3 events, 2 alerts, 1 bad" in done.stderr


def test_a_candidate_is_compared_alert_by_alert_without_text() -> None:
    file = written(*events("a rose and a tulip", "a rose", "a tulip", "a rose"))
    done = run(
        "replay", file, "-c", config("live.yaml", "rose"), "--candidate", config("new.yaml", "tulip"), "--examples", "1"
    )
    assert done.exit_code == 1
    assert done.stdout.splitlines()[1].split() == ["unsafe-code", "3", "2", "2", "1", "1"]
    assert "severity: event e0 at llm.events:3:1: high, score" in done.stdout
    assert "gone: event e1 at" in done.stdout
    assert "new: event e2 at" in done.stdout
    assert "event e3" not in done.stdout  # one example of a kind
    assert "tulip" not in done.output


def test_json_has_the_same_figures() -> None:
    file = written(*events("a rose", "a tulip"))
    done = run("replay", file, "-c", config("live.yaml", "rose"), "--candidate", config("new.yaml", "tulip"), "--json")
    data = json.loads(done.stdout)
    (found,) = data["sets"]
    assert {k: found[k] for k in ("before", "after", "gone", "new", "severity")} == {
        "before": 1,
        "after": 1,
        "gone": 1,
        "new": 1,
        "severity": 0,
    }
    assert [(e["change"], e["event_id"], e["before"] is None) for e in found["examples"]] == [
        ("gone", "e0", False),
        ("new", "e1", True),
    ]
    assert len(data["before"]["config_sha256"]) == len(data["after"]["config_sha256"]) == 64


def test_a_candidate_that_changes_nothing_is_0() -> None:
    file = written(*events("a rose"))
    live = config("live.yaml", "rose")
    assert run("replay", file, "-c", live, "--candidate", live).exit_code == 0


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--from", "yesterday"), "--from: 'yesterday' is not a time such as"),
        (("--from", "2026-01-02", "--to", "2026-01-01"), "--to: is not later than --from"),
        (("--offsets", "0:9-1"), "--offsets: '0:9-1' is not PARTITION:FIRST-LAST"),
        (("--offsets", "0:1-2", "--offsets", "0:5-6"), "--offsets: partition 0 is given twice"),
        (("--offsets", "0:1-2", "--to", "2026-01-01"), "--offsets: can't be combined with --from and --to"),
        (("events.jsonl", "--to", "2026-01-01"), "--from, --to, --offsets: are for topics"),
    ],
)
def test_a_range_that_makes_no_sense_is_named(options: tuple[str, ...], problem: str) -> None:
    written(*events("a rose"))
    done = run("replay", *options)
    assert problem in str(done.exception)


# ---- topics


def brokers(broker: ApacheKafka) -> dict[str, Any]:
    return {"bootstrap_servers": broker.bootstrap_servers, "request_timeout_ms": 5_000}


@pytest.mark.kafka
@pytest.mark.timeout(60)
def test_a_range_of_a_topic_is_read_without_a_trace(apache_kafka: ApacheKafka) -> None:
    topic = new_topic(apache_kafka, partitions=2)
    values = events(*["a rose"] * 10)
    for n, value in enumerate(values):  # the time of record n is n seconds
        fill(apache_kafka, topic, [value] if n % 2 == 0 else [b"{}", value], 2, timestamp_ms=1_000 * (n + 1))
    live = config("live.yaml", "rose", kafka=brokers(apache_kafka), source={"topic": topic})
    admin = KafkaAdminClient(**client_settings(KafkaConfig(bootstrap_servers=apache_kafka.bootstrap_servers)))
    try:
        before = admin.list_groups()

        def figures(*options: str) -> tuple[int, int, int]:
            done = run("replay", "-c", live, "--json", *options)
            assert done.exit_code == 0, done.output
            side = json.loads(done.stdout)["config"]
            return side["events"], side["bad"], side["alerts"]

        assert figures() == (10, 5, 10)
        assert figures("--offsets", "1:1-2") == (2, 0, 2)
        assert figures("--offsets", "1:3-99", "--offsets", "0:0-1") == (3, 1, 3)
        times = "--from", "1970-01-01T00:00:03Z", "--to", "1970-01-01T00:00:06Z"
        assert figures(*times) == (3, 1, 3)
        assert figures("--from", "1970-01-02") == (0, 0, 0)
        assert admin.list_groups() == before
    finally:
        admin.close()
    missing = run("replay", "-c", live, "--offsets", "7:0-1")
    assert f"topic {topic}: has no partition 7; it has 2" in str(missing.exception)


@pytest.mark.kafka
@pytest.mark.timeout(60)
def test_what_an_overload_skipped_can_be_read_later(apache_kafka: ApacheKafka) -> None:
    topic, skipped = new_topic(apache_kafka, partitions=2), new_topic(apache_kafka)
    fill(apache_kafka, topic, events(*["a rose"] * 20), partitions=2)
    sink = KafkaSkipped(KafkaConfig(**brokers(apache_kafka)), skipped)
    for _ in range(2):  # a batch that was delivered twice
        sink.add([Origin(topic, 0, offset) for offset in (1, 2, 3, 7)] + [Origin(topic, 1, 9)], "too much", 0.5)
    sink.add([Origin("another", 0, 0)], "too much", 0.5)
    sink.flush()
    sink.close()
    live = config(
        "live.yaml", "rose", kafka=brokers(apache_kafka), source={"topic": topic}, overload={"topic": skipped}
    )
    done = run("replay", "-c", live, "--skipped", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["config"]["alerts"] == 5
    none = run("replay", "-c", live, "--skipped", "--to", "1970-01-02")
    assert f"topic {skipped}: names no skipped records of topic {topic}" in str(none.exception)
    assert "--skipped: reads overload.topic" in str(run("replay", "x.jsonl", "-c", live, "--skipped").exception)


@pytest.mark.kafka
@pytest.mark.timeout(60)
def test_dead_letters_that_are_good_now_are_delivered_once_and_the_others_named(apache_kafka: ApacheKafka) -> None:
    letters, alerts = new_topic(apache_kafka), new_topic(apache_kafka)
    kafka = KafkaConfig(**brokers(apache_kafka))
    sink = KafkaDeadLetters(kafka, letters)
    good = json.dumps({"id": "g", "response": "a rose"}).encode()
    fault = BadEvent("was no event then")
    sink.add(Record(good, Origin("t", 0, 7), key=b"k", headers=(("h", b"1"),)), fault)
    sink.add(Record(b"{}", Origin("t", 0, 8)), fault)
    sink.add(Record(None, Origin("t", 0, 9)), fault)
    sink.add(*UnreadRange("t", 1, 5, 6, "corrupt", "damaged").dead_letter())
    sink.flush()
    sink.close()
    live = config(
        "live.yaml",
        "rose",
        kafka=brokers(apache_kafka),
        source={"dead_letter_topic": letters},
        sinks={"kafka": {"topic": alerts}},
    )
    tried = run("dead-letters", "replay", "-c", live, "--dry-run")
    assert tried.exit_code == 3
    assert "dead letters: 1 are good now, 3 still bad; alerts would be delivered: 1" in tried.stdout
    assert "t:0:8: $: not a format that is read" in tried.stdout
    assert "if t still has it: latentwatch replay --offsets 1:5-6" in tried.stdout
    assert read(kafka, alerts, 1, timeout_s=1) == []
    for _ in range(2):
        done = run("dead-letters", "replay", "-c", live, "--json")
        assert done.exit_code == 3, done.output
        data = json.loads(done.stdout)
        assert (data["good"], data["alerts"], data["still_bad"]) == (1, 1, 3)
    delivered = [Alert.from_json(record.value) for record in read(kafka, alerts, 2)]
    assert len(delivered) == 2
    assert {(alert.id, alert.event.id) for alert in delivered} == {(delivered[0].id, "g")}
    assert len(read(kafka, letters, 4)) == 4


def test_bad_events_of_a_scan_are_read_from_their_file() -> None:
    file = written(*events("a rose"), b"{}", b"not json")
    live = config("live.yaml", "rose", sinks={"kafka": {"enabled": False}, "jsonl": {"enabled": True}})
    assert run("scan", file, "-c", live, "--bad", "bad.jsonl", "--out", "out.jsonl").exit_code == 3
    with Path("bad.jsonl").open("ab") as f:
        f.write(b"no line of ours\n")
    mapped = config(
        "mapped.yaml",
        "rose",
        events={"mapping": {"prompt": "$.q"}},
        sinks={"kafka": {"enabled": False}, "jsonl": {"enabled": True}},
    )
    done = run("dead-letters", "replay", "bad.jsonl", "-c", mapped)
    assert done.exit_code == 3
    assert "not a line that `scan --bad` or http.bad_events_path writes" in done.stdout
