"""A topic of alerts or of dead letters that does not exist, on a real broker: told, counted, and nothing is lost."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from monitor.alerts.alert import Alert
from monitor.config.sections import KafkaConfig, SourceConfig
from monitor.config.sinks import OtelConfig
from monitor.events.event import EventLimits
from monitor.kafka import producer
from monitor.pipeline import Delivery, Pipeline
from monitor.sinks.dead_letter import KafkaDeadLetters
from monitor.sinks.jsonl import JsonlSink
from monitor.sinks.kafka import KafkaSink, KafkaSinkConfig
from monitor.sources.kafka import KafkaSource
from monitor.telemetry.health import Health
from monitor.telemetry.telemetry import Telemetry
from tests.brokers import ApacheKafka
from tests.test_pipeline import SmallEngine
from tests.topics import fill, new_topic, read

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]

EVENTS = [json.dumps({"id": f"e{n}", "response": "alert"}).encode() for n in range(3)]


def until(condition: Callable[[], bool], what: str) -> None:
    give_up_at = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up_at, what
        time.sleep(0.05)


def test_missing_topics_are_named_and_counted_and_the_other_sink_gets_its_alerts_once(
    apache_kafka: ApacheKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producer, "_MAX_BLOCK_MS", 500)
    broker = apache_kafka
    events, name = new_topic(broker), uuid.uuid4().hex[:10]
    topics = {"kafka": f"alerts-{name}", "dead_letter": f"dead-{name}"}
    fill(broker, events, [*EVENTS, b"{"])
    kafka = KafkaConfig(bootstrap_servers=broker.bootstrap_servers)
    section = SourceConfig(topic=events, group_id=f"group-{name}", poll_timeout_ms=200)
    telemetry, health, stop = Telemetry(OtelConfig(), "0", {}), Health(300), threading.Event()
    file = JsonlSink(tmp_path / "alerts.jsonl", fsync=False)
    sinks = [file, KafkaSink(kafka, KafkaSinkConfig(topic=topics["kafka"]))]
    letters = KafkaDeadLetters(kafka, topics["dead_letter"])
    source = KafkaSource(kafka, section)
    delivery = Delivery(sinks, letters, EventLimits(), "auto")
    pipeline = Pipeline(source, SmallEngine(), delivery, telemetry, health, stop)  # type: ignore[arg-type]
    loop = threading.Thread(target=pipeline.run)

    def written() -> list[str]:
        return [Alert.from_json(line).event.id for line in (tmp_path / "alerts.jsonl").read_bytes().splitlines()]

    def failures(sink: str) -> float:
        metric = "latentwatch_sink_failures_total"
        return telemetry.registry.get_sample_value(metric, {"latentwatch_sink": sink}) or 0

    loop.start()
    try:
        until(lambda: sum("sink" in reason for reason in health.ready()) == 2, "the faults in /readyz")
        assert health.ready() == [
            f"sink {sink}: cannot send to topic {topics[sink]}: it does not exist; create it, or correct the name"
            for sink in ("dead_letter", "kafka")
        ]
        until(lambda: min(map(failures, topics)) >= 2, "every attempt is counted")
        assert written() == ["e0", "e1", "e2"]
        assert pipeline.totals.records == 0  # nothing is committed

        broker.create_topics(dict.fromkeys(topics.values(), 1))
        until(lambda: pipeline.totals.records == 4, "everything committed")
        assert health.ready() == []
    finally:
        stop.set()
        loop.join()
        for opened in (*sinks, letters, source):
            opened.close()
        telemetry.shutdown()
    assert written() == ["e0", "e1", "e2"]
    assert [Alert.from_json(r.value).event.id for r in read(kafka, topics["kafka"], 3)] == ["e0", "e1", "e2"]
    assert [r.value for r in read(kafka, topics["dead_letter"], 1)] == [b"{"]
