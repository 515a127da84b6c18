"""Calls in several records, Avro by a registry and records that are partly bad, through a broker."""

from __future__ import annotations

import json
import threading

import pytest

from monitor.config.sections import EventsConfig, KafkaConfig, OtelConfig, SourceConfig
from monitor.events.event import EventLimits
from monitor.kafka.schema_registry import SchemaRegistry
from monitor.pipeline import Delivery, Pipeline, Totals
from monitor.sinks.dead_letter import KafkaDeadLetters
from monitor.sources.kafka import KafkaSource
from monitor.telemetry.health import Health
from monitor.telemetry.telemetry import Telemetry
from tests.brokers import AnyBroker
from tests.events.avro_records import EVENT, VALUE, encoded, framed
from tests.kafka.registry_server import schema_registry
from tests.test_pipeline import RecordingSink, SmallEngine, ids
from tests.test_pipeline_accounting import ALERT, BAD, NOISE, chunk, half
from tests.topics import fill, new_topic, read

pytestmark = pytest.mark.kafka


def test_what_one_poll_brings(broker: AnyBroker) -> None:
    topic, dead = new_topic(broker), new_topic(broker)
    bodies = [
        chunk("al"),
        half("request", {"prompt": "Hi"}),
        [ALERT, BAD],
        chunk("ert"),
        NOISE,
        half("response", ALERT),
    ]
    avro = framed(encoded({**VALUE, "response": "alert"}))
    fill(broker, topic, [*(json.dumps(body).encode() for body in bodies), avro, framed(b"\x01", 8)])
    kafka = KafkaConfig(bootstrap_servers=broker.bootstrap_servers)
    timing = {"poll_timeout_ms": 200, "session_timeout_ms": 4_000, "heartbeat_interval_ms": 300}
    source = KafkaSource(kafka, SourceConfig.model_validate({"topic": topic, "group_id": topic, **timing}))
    letters, sink = KafkaDeadLetters(kafka, dead), RecordingSink([])
    telemetry, stop = Telemetry(OtelConfig(), "0", {}), threading.Event()

    def stop_at_the_end(totals: Totals) -> None:
        if totals.records == len(bodies) + 2:
            stop.set()

    with schema_registry() as server:
        server.add(7, EVENT)
        registry = SchemaRegistry(EventsConfig(schema_registry_url=server.url))
        delivery = Delivery([sink], letters, EventLimits(), "auto", registry)
        totals = Pipeline(source, SmallEngine(), delivery, telemetry, Health(300), stop, stop_at_the_end).run()
        registry.close()
    for part in (source, letters):
        part.close()
    telemetry.shutdown()

    assert sorted(ids(sink.safe)) == ["call", "e", "e1", "s"]
    assert (totals.bad, totals.partly, totals.empty, totals.unread) == (2, 1, 1, 0)
    found = {dict(r.headers)["latentwatch-offset"]: dict(r.headers)["latentwatch-reason"] for r in read(kafka, dead, 2)}
    assert found[b"7"] == b"the schema registry has no schema 8"
    assert found[b"2"].endswith(b"(the record's other events were judged)")
