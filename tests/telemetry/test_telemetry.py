"""Telemetry: what a scrape shows, and what a receiver and a real collector get."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from monitor.alerts.allow import Silenced
from monitor.config.sinks import OtelConfig
from monitor.sinks.otel import OtelSink
from monitor.telemetry import names as names
from monitor.telemetry.telemetry import Stream, Telemetry
from tests.alert_factory import SPAN_ID, TRACE_ID, make_alert, make_event
from tests.otlp_receiver import OtlpReceiver, attributes
from tests.sinks.test_otel import free_port


def use_everything(telemetry: Telemetry) -> None:
    """Calls every method once, so that every metric has a value."""
    telemetry.polled(4, 0.2)
    telemetry.polled(0, 0.5)
    telemetry.bad_event("json")
    telemetry.template_fallback()
    telemetry.confirmed()
    telemetry.read(tokens=100, windows=3, duration_s=0.3)
    telemetry.sampled_out("few")
    telemetry.processed(make_event(), [make_alert()], 0.25, silenced=[Silenced("bias", "tutor")])
    telemetry.processed(make_event("chat-2"), [], 0.25, error_type="Permanent")
    telemetry.alert(make_alert())
    telemetry.feature_active("unsafe-code", 7)
    telemetry.lag(12)
    telemetry.queue(3)
    telemetry.sink_flushed("kafka", 1, 0.01)
    telemetry.sink_failed("kafka")
    telemetry.sink_opened("webhook")
    telemetry.sink_dropped("otel", 2)
    telemetry.committed()
    telemetry.watch_intake(lambda: (3, 400))
    telemetry.intake_accepted()
    telemetry.intake_refused("full")
    telemetry.config_loaded("e" * 64)
    telemetry.reloaded("refused")
    telemetry.export_failed("logs", "tested")
    telemetry.export_dropped("logs", 1)


def test_a_scrape_shows_every_metric_of_the_table() -> None:
    telemetry = Telemetry(OtelConfig(), "0.1.0", {names.READER_MODEL: "smollm2"}, Stream("t", "g", "c"))
    use_everything(telemetry)
    families = {f.name: f for f in text_string_to_metric_families(generate_latest(telemetry.registry).decode())}
    for row in names.METRICS:
        family = families[names.prometheus_name(row).removesuffix("_total")]
        assert family.type == row.kind, row.name
        assert family.documentation == row.description
        found = {label for s in family.samples for label in s.labels} - {"le"}
        assert found <= {a.replace(".", "_") for a in row.attributes}, row.name
    value = telemetry.registry.get_sample_value
    assert value("latentwatch_tokens_total", {}) == 100
    labels = {
        "latentwatch_set_id": "unsafe-code",
        "latentwatch_category": "unsafe_code",
        "latentwatch_severity": "medium",
    }
    assert value("latentwatch_alerts_total", labels) == 1
    assert value("latentwatch_config_info", {"latentwatch_config_sha256": "e" * 64}) == 1
    outcomes = ("applied", "unchanged", "refused")
    reloads = [value("latentwatch_config_reloads_total", {"latentwatch_reload_outcome": o}) for o in outcomes]
    assert (reloads, value("latentwatch_config_refused", {})) == ([0, 0, 1], 1)
    assert value("latentwatch_read_duration_seconds_bucket", {"le": "0.25"}) == 0
    assert value("latentwatch_read_duration_seconds_bucket", {"le": "0.5"}) == 1
    (target,) = families["target_info"].samples
    assert target.labels["latentwatch_reader_model"] == "smollm2"
    assert target.labels["service_version"] == "0.1.0"
    assert "process_resident_memory_bytes" in families
    telemetry.shutdown()


def test_openmetrics_parses_and_no_event_id_becomes_a_label() -> None:
    telemetry = Telemetry(OtelConfig(), "0.1.0", {})
    use_everything(telemetry)
    text: str = generate_openmetrics(telemetry.registry).decode()  # type: ignore[no-untyped-call]
    found = {f.name for f in parse_openmetrics(text)}  # type: ignore[no-untyped-call]
    assert found >= {"latentwatch_alerts", "messaging_process_duration_seconds"}
    assert "chat-1" not in text
    assert "conv-9" not in text
    telemetry.shutdown()


def test_gauges_follow_the_state() -> None:
    telemetry = Telemetry(OtelConfig(), "0.1.0", {})
    value = telemetry.registry.get_sample_value
    assert value("latentwatch_lag", {}) is None
    telemetry.lag(5)
    telemetry.config_loaded("one")
    telemetry.config_loaded("two")
    for _ in range(2):  # a second scrape still sees them
        assert value("latentwatch_lag", {}) == 5
        assert value("latentwatch_config_info", {"latentwatch_config_sha256": "two"}) == 1
        assert value("latentwatch_config_info", {"latentwatch_config_sha256": "one"}) is None
    telemetry.lag(None)
    assert value("latentwatch_lag", {}) is None
    telemetry.shutdown()


def test_the_intake_is_reported_if_there_is_one() -> None:
    telemetry = Telemetry(OtelConfig(), "0.1.0", {})
    value = telemetry.registry.get_sample_value
    assert value("latentwatch_intake_held", {}) is None
    assert value("latentwatch_intake_accepted_total", {}) is None
    telemetry.watch_intake(lambda: (3, 400))
    telemetry.intake_refused("full")
    assert value("latentwatch_intake_held", {}) == 3
    assert value("latentwatch_intake_held_size_bytes", {}) == 400
    assert value("latentwatch_intake_accepted_total", {}) == 0
    assert value("latentwatch_intake_refused_total", {"error_type": "full"}) == 1
    assert value("latentwatch_intake_refused_total", {"error_type": "invalid"}) == 0
    telemetry.shutdown()


def test_counters_of_failures_start_at_zero() -> None:
    with OtlpReceiver() as receiver:
        telemetry = Telemetry(OtelConfig(enabled=True, endpoint=receiver.url, timeout_s=0.5), "0.1.0", {})
        for signal in ("logs", "traces", "metrics"):
            labels = {"latentwatch_signal": signal}
            assert telemetry.registry.get_sample_value("latentwatch_export_failures_total", labels) == 0
        telemetry.shutdown()


def test_what_an_event_lacks_is_counted_by_kind() -> None:
    telemetry = Telemetry(OtelConfig(), "1.0", {})
    event = replace(make_event(), unread={"image": 2, "file": 1}, repaired={"role": 3})
    telemetry.processed(event, [], 0.1)
    telemetry.processed(event, [], 0.1)

    def count(name: str, kind: str) -> float | None:
        return telemetry.registry.get_sample_value(name, {"latentwatch_part_kind": kind})

    assert count("latentwatch_events_unread_parts_total", "image") == 4
    assert count("latentwatch_events_unread_parts_total", "file") == 2
    assert count("latentwatch_events_unread_parts_total", "audio") == 0
    assert count("latentwatch_events_repaired_total", "role") == 6
    telemetry.shutdown()


def test_methods_never_raise_and_shutdown_may_come_twice(caplog: pytest.LogCaptureFixture) -> None:
    telemetry = Telemetry(OtelConfig(), "0.1.0", {})
    telemetry.alert(None)  # type: ignore[arg-type]
    assert "telemetry: alert failed: AttributeError" in caplog.text
    telemetry.shutdown()
    telemetry.shutdown()
    use_everything(telemetry)


def test_spans_have_link_parent_and_attributes() -> None:
    with OtlpReceiver() as receiver:
        config = OtelConfig(
            enabled=True, endpoint=receiver.url, timeout_s=2, resource_attributes={"deployment.environment.name": "t"}
        )
        telemetry = Telemetry(config, "0.1.0", {}, Stream("llm.events", "g", "c"))
        use_everything(telemetry)
        telemetry.processed(make_event(traceparent=None), [], 0.1)
        telemetry.shutdown()
    spans = receiver.spans()
    assert [s.name for s in spans].count("poll llm.events") == 1
    poll = next(s for s in spans if s.name == "poll llm.events")
    assert poll.kind == poll.SPAN_KIND_CLIENT
    assert attributes(poll)["messaging.batch.message_count"] == 4
    assert attributes(poll)["messaging.operation.type"] == "receive"
    process, failed, unlinked = (s for s in spans if s.name == "process llm.events")
    assert process.kind == process.SPAN_KIND_CONSUMER
    assert process.parent_span_id == b""
    (link,) = process.links
    assert (link.trace_id.hex(), link.span_id.hex()) == (TRACE_ID, SPAN_ID)
    assert process.trace_id != link.trace_id
    assert process.end_time_unix_nano - process.start_time_unix_nano == 250_000_000
    found = attributes(process)
    assert found["messaging.system"] == "kafka"
    assert found["messaging.destination.partition.id"] == "3"
    assert found["messaging.kafka.offset"] == 41
    assert found["messaging.consumer.group.name"] == "g"
    assert found["gen_ai.conversation.id"] == "conv-9"
    assert failed.status.code == failed.status.STATUS_CODE_ERROR
    assert attributes(failed)["error.type"] == "Permanent"
    assert len(unlinked.links) == 0
    (evaluate,) = (s for s in spans if s.name == "evaluate unsafe-code")
    assert (evaluate.trace_id, evaluate.parent_span_id) == (process.trace_id, process.span_id)
    assert evaluate.kind == evaluate.SPAN_KIND_INTERNAL
    assert attributes(evaluate)["openinference.span.kind"] == "GUARDRAIL"
    assert attributes(evaluate)["security_rule.name"] == "unsafe-code"
    for span, row in ((poll, names.POLL), (process, names.PROCESS), (evaluate, names.EVALUATE)):
        assert set(attributes(span)) <= set(row.attributes)
    metrics = receiver.metrics()
    assert metrics["latentwatch.alerts"].sum.data_points[0].as_int == 1
    assert list(metrics["messaging.process.duration"].histogram.data_points[0].explicit_bounds) == list(names.SECONDS)


def test_a_metric_export_that_fails_is_counted() -> None:
    config = OtelConfig(
        enabled=True, endpoint=f"http://127.0.0.1:{free_port()}", timeout_s=0.2, metrics_interval_s=0.05
    )
    telemetry = Telemetry(config, "0.1.0", {})
    labels = {"latentwatch_signal": "metrics"}
    deadline = time.monotonic() + 10
    while not telemetry.registry.get_sample_value("latentwatch_export_failures_total", labels):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    telemetry.shutdown()


COLLECTOR = """
receivers: {{otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{port}"}}}}}}}}
exporters: {{debug: {{verbosity: detailed}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [debug]}}
    logs: {{receivers: [otlp], exporters: [debug]}}
    metrics: {{receivers: [otlp], exporters: [debug]}}
"""


@pytest.mark.skipif("OTELCOL_BIN" not in os.environ, reason="OTELCOL_BIN does not name an OpenTelemetry Collector")
def test_a_real_collector_takes_logs_spans_and_metrics(tmp_path: Path) -> None:
    port = free_port()
    config_file = tmp_path / "collector.yaml"
    config_file.write_text(COLLECTOR.format(port=port))
    output = tmp_path / "output"
    with output.open("wb") as out:
        collector = subprocess.Popen([os.environ["OTELCOL_BIN"], "--config", config_file], stdout=out, stderr=out)
    try:
        wait_for(output, "Everything is ready")
        config = OtelConfig(enabled=True, endpoint=f"http://127.0.0.1:{port}", required=True)
        telemetry = Telemetry(config, "0.1.0", {names.READER_MODEL: "smollm2"})
        sink = OtelSink(config, telemetry)
        use_everything(telemetry)
        sink.add(make_alert(severity="high"))
        sink.flush()
        sink.close()
        telemetry.shutdown()
        wait_for(output, "latentwatch.commits")
    finally:
        collector.terminate()
        collector.wait(30)
    text = output.read_text()
    log = section(text, "LogRecord #0")
    assert f"Trace ID: {TRACE_ID}" in log
    assert f"Span ID: {SPAN_ID}" in log
    assert "EventName: gen_ai.evaluation.result" in log
    assert "SeverityText: ERROR" in log
    assert "gen_ai.evaluation.name: Str(unsafe-code)" in log
    process = next(s for s in text.split("\nSpan #") if "Name           : process llm.events" in s)
    evaluate = next(s for s in text.split("\nSpan #") if "Name           : evaluate unsafe-code" in s)
    assert f"-> Trace ID: {TRACE_ID}" in process
    assert field(evaluate, "Parent ID") == field(process, "ID")
    assert field(evaluate, "Trace ID") == field(process, "Trace ID")
    assert "Name: latentwatch.alerts" in text
    assert "Name: messaging.process.duration" in text
    assert "latentwatch.reader.model: Str(smollm2)" in text


def wait_for(output: Path, text: str) -> None:
    deadline = time.monotonic() + 30
    while text not in output.read_text():
        assert time.monotonic() < deadline, output.read_text()[-2_000:]
        time.sleep(0.1)


def section(text: str, start: str) -> str:
    return text[text.index(start) :].split("\nResource", 1)[0]


def field(span: str, name: str) -> str:
    return next(v.strip() for k, _, v in (line.partition(":") for line in span.splitlines()) if k.strip() == name)
