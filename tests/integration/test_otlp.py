"""The sidecar's telemetry as a receiver sees it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from monitor.demo.broker import EmbeddedBroker
from tests.brokers import free_ports
from tests.integration.sidecar import EVENTS_DONE, READY_S, Sidecar, set_count, write_config
from tests.integration.stream import Outgoing, Stream
from tests.observability.files import STACK
from tests.otlp_receiver import OtlpReceiver, attributes

pytestmark = [pytest.mark.kafka, pytest.mark.model, pytest.mark.timeout(600)]

SECRET = "zebrawood"
TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
EVENTS = 6

COLLECTOR = STACK / "otel-collector.yaml"


def records(name: str) -> Sequence[Outgoing]:
    """Events of one series; the first was sent by a traced service."""
    header = (("traceparent", f"00-{TRACE_ID}-{SPAN_ID}-01".encode()),)
    return [
        Outgoing(
            json.dumps({"id": f"{name}-{n}", "prompt": f"Why {SECRET}?", "response": f"{SECRET} is hard."}).encode(),
            headers=header if n == 0 else (),
        )
        for n in range(EVENTS)
    ]


def otel(port: int) -> dict[str, Any]:
    return {"sinks": {"otel": {"enabled": True, "endpoint": f"http://127.0.0.1:{port}", "metrics_interval_s": 1}}}


def test_a_receiver_that_comes_late_gets_everything(embedded_broker: EmbeddedBroker, tmp_path: Path) -> None:
    stream = Stream(embedded_broker)
    (port,) = free_ports(1)
    with Sidecar(write_config(tmp_path, embedded_broker, stream, otel(port))) as sidecar:
        sidecar.wait_ready(READY_S)
        # nobody listens, and sinks.otel.required is false: Kafka gets everything all the same
        stream.publish(records("early"))
        sidecar.until(stream.all_committed, "everything committed without a receiver")
        assert len(stream.delivered()) == EVENTS * set_count()
        failures = [("latentwatch_export_failures_total", "logs"), ("latentwatch_sink_failures_total", "otel")]
        for name, label in failures:
            sidecar.until(lambda n=name, value=label: sidecar.values(n)[value] > 0, name)
        assert "sink otel: " in json.loads(sidecar.get("/readyz")[1])["warnings"][0]

        with OtlpReceiver(port) as receiver:
            stream.publish(records("late"))
            sidecar.until(stream.all_committed, "everything committed")
            sidecar.until(lambda: len(receiver.logs()) == 2 * EVENTS * set_count(), "logs")
            sidecar.until(lambda: _sum(receiver.metrics(), "latentwatch.alerts") == 2 * EVENTS * set_count(), "metrics")
            assert sidecar.metric(EVENTS_DONE) == 2 * EVENTS
            assert sidecar.metric("latentwatch_export_dropped_total") == 0
            assert sidecar.stop(30) == 0  # exports the spans that were held back
            _check(receiver, stream)


def _sum(metrics: dict[str, Any], name: str) -> int:
    return sum(point.as_int for point in metrics[name].sum.data_points) if name in metrics else 0


def _check(receiver: OtlpReceiver, stream: Stream) -> None:
    alerts = {alert.id: alert for alert in stream.delivered()}
    logs = {attributes(record)["latentwatch.alert.id"]: record for record in receiver.logs()}
    assert set(logs) == set(alerts)  # those that waited included
    for alert_id, record in logs.items():
        alert = alerts[alert_id]
        assert record.event_name == "gen_ai.evaluation.result"
        assert attributes(record)["gen_ai.evaluation.name"] == alert.set.id
        assert attributes(record)["gen_ai.evaluation.score.value"] == pytest.approx(alert.score)
        assert (record.trace_id.hex() == TRACE_ID) == (alert.event.id in ("early-0", "late-0"))
    spans = receiver.spans()
    processed = {attributes(s)["gen_ai.response.id"]: s for s in spans if s.name == f"process {stream.events}"}
    assert {name for name in processed if name.startswith("late")} == {f"late-{n}" for n in range(EVENTS)}
    (link,) = processed["late-0"].links
    assert (link.trace_id.hex(), link.span_id.hex()) == (TRACE_ID, SPAN_ID)
    assert not processed["late-1"].links
    children = [s for s in spans if s.parent_span_id == processed["late-0"].span_id]
    judged = [s for s in children if s.name.startswith("evaluate ")]
    assert [s.name.split(" ")[0] for s in children if s not in judged] == ["read"]
    assert len(judged) == set_count()
    assert any(s.name == f"poll {stream.events}" for s in spans)
    assert not any(SECRET.encode() in body for _, _, body in receiver.requests)


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """The port of a real OpenTelemetry Collector, and the file to which it prints what it got."""
    binary = os.environ.get("OTELCOL_BIN")
    if binary is None:
        pytest.skip("OTELCOL_BIN does not name an OpenTelemetry Collector")
    (port,) = free_ports(1)
    output = tmp_path / "collector.out"
    env = os.environ | {"OTLP_ADDRESS": f"127.0.0.1:{port}", "DEBUG_VERBOSITY": "detailed"}
    with output.open("wb") as out:
        process = subprocess.Popen([binary, "--config", COLLECTOR], env=env, stdout=out, stderr=out)
    try:
        yield port, output
    finally:
        process.kill()
        process.wait()


def test_a_real_collector_understands_it(
    embedded_broker: EmbeddedBroker, collector: tuple[int, Path], tmp_path: Path
) -> None:
    port, output = collector
    stream = Stream(embedded_broker)
    stream.publish(records("event"))
    with Sidecar(write_config(tmp_path, embedded_broker, stream, otel(port))) as sidecar:
        sidecar.until(lambda: "Everything is ready" in output.read_text(), "the collector")
        sidecar.until(stream.all_committed, "everything committed")
        # the last export on the way out has a limit of two seconds, so nothing here may depend on it
        sidecar.until(lambda: "Name: messaging.process.duration" in output.read_text(), "metrics")
        sidecar.until(lambda: len(_processed(output, stream)) == EVENTS, "spans")
        assert sidecar.stop(30) == 0
        assert sidecar.metric("latentwatch_export_failures_total") is None  # gone with the process
    text = output.read_text()
    assert text.count("EventName: gen_ai.evaluation.result") == EVENTS * set_count()
    assert sum(f"-> Trace ID: {TRACE_ID}" in span for span in _processed(output, stream)) == 1
    assert "Name: latentwatch.alerts" in text
    assert SECRET not in text


def _processed(output: Path, stream: Stream) -> list[str]:
    """The spans of events, as the collector printed them."""
    return [
        span for span in output.read_text().split("\nSpan #") if f"Name           : process {stream.events}" in span
    ]
