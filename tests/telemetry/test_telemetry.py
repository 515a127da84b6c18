"""Telemetry: what a scrape shows, and what a receiver and a real collector get."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from detectors.feature_set import SEVERITIES
from monitor.alerts.abstention import Abstention
from monitor.alerts.allow import Silenced
from monitor.alerts.set_score import SetScore
from monitor.config.sections import Config
from monitor.config.sinks import OtelConfig
from monitor.demo.free_port import free_port
from monitor.errors import BadEventKind
from monitor.events.position import Position
from monitor.sets.load import LoadedSet
from monitor.sinks.otel import OtelSink
from monitor.telemetry import names as names
from monitor.telemetry import telemetry as module
from monitor.telemetry.buckets import SECONDS
from monitor.telemetry.label_values import LIMIT
from monitor.telemetry.name_table import TABLE
from monitor.telemetry.spans import Reading
from monitor.telemetry.telemetry import Stream, Telemetry
from tests.alert_factory import SPAN_ID, TRACE_ID, make_alert, make_event
from tests.feature_set_factory import make_set, make_weighted
from tests.otlp_receiver import OtlpReceiver, attributes
from tests.telemetry.documented_names import prometheus_name

CONFIG = Config()
SETS = [LoadedSet(Path("unsafe-code.yaml"), "a" * 64, make_weighted(), make_weighted(), listed=(7,))]
POSITIONS = (Position("t", 0, 30, 42), Position("t", 1, 5, None))
ALERTS, ACTIVE = "latentwatch_alerts_total", "latentwatch_feature_active_total"
CATEGORY = {"latentwatch_category": "unsafe_code"}


def use_everything(telemetry: Telemetry) -> None:
    """Calls every method once, so that every metric has a value."""
    telemetry.polled(4, 0.2)
    telemetry.polled(0, 0.5, "broker_down")
    telemetry.bad_event("json")
    telemetry.template_fallback()
    telemetry.sampled_out("few")
    telemetry.processed(
        make_event(),
        [make_alert(event=make_alert().event.model_copy(update={"attributes": {"tenant": "bank"}}))],
        0.25,
        silenced=[Silenced("bias", "tutor")],
        chosen={"tenant": "bank"},
        reading=Reading(100, 3, 0.2, confirmed=True),
        scores=[SetScore("unsafe-code", "unsafe_code", 0.62, active=(7,))],
        abstentions=[Abstention("bias", "fr")],
    )
    telemetry.processed(make_event("chat-2"), [], 0.25, error_type="Permanent")
    telemetry.alert(make_alert())
    telemetry.watch_source(lambda: POSITIONS)
    telemetry.watch_ready(lambda: True)
    telemetry.queue(3)
    telemetry.sink_flushed("kafka", 1, 0.01)
    telemetry.sink_failed("kafka", 1, 0.02, "topic_missing")
    telemetry.sink_dropped("otel", 2)
    telemetry.committed(4, 0.01, [0.3, 40.0])
    telemetry.watch_intake(lambda: (3, 400))
    telemetry.intake_accepted()
    telemetry.intake_refused("full")
    telemetry.config_loaded(CONFIG, SETS)
    telemetry.reloaded("refused")
    telemetry.export_failed("logs", "tested")
    telemetry.export_dropped("logs", 1)


def test_a_scrape_shows_every_metric_of_the_table() -> None:
    telemetry = Telemetry(OtelConfig(), "0.1.0", {names.READER_MODEL: "smollm2"}, Stream("t", "g", "c"))
    use_everything(telemetry)
    families = {f.name: f for f in text_string_to_metric_families(generate_latest(telemetry.registry).decode())}
    for row in names.METRICS:
        family = families[prometheus_name(row).removesuffix("_total")]
        assert family.type == row.kind, row.name
        assert family.documentation == row.description
        found = {label for s in family.samples for label in s.labels} - {"le"}
        assert found <= {a.format(name="tenant").replace(".", "_") for a in row.attributes}, row.name
    value = telemetry.registry.get_sample_value
    assert value("latentwatch_tokens_total", {}) == 100
    assert value("latentwatch_events_confirmed_total", {}) == 1
    labels = {
        "latentwatch_set_id": "unsafe-code",
        "latentwatch_category": "unsafe_code",
        "latentwatch_severity": "medium",
        "latentwatch_attribute_tenant": "",
    }
    assert value("latentwatch_alerts_total", labels) == 1
    reader = {"latentwatch_reader_model": "smollm2", "latentwatch_config_sha256": CONFIG.sha256()}
    assert value("latentwatch_config_info", reader) == 1
    outcomes = ("applied", "unchanged", "refused")
    reloads = [value("latentwatch_config_reloads_total", {"latentwatch_reload_outcome": o}) for o in outcomes]
    assert (reloads, value("latentwatch_config_refused", {})) == ([0, 0, 1], 1)
    assert value("latentwatch_read_duration_seconds_bucket", {"le": "0.1"}) == 0
    assert value("latentwatch_read_duration_seconds_bucket", {"le": "0.25"}) == 1
    (target,) = families["target_info"].samples
    assert target.labels["latentwatch_reader_model"] == "smollm2"
    assert target.labels["service_version"] == "0.1.0"
    assert "process_resident_memory_bytes" in families
    telemetry.shutdown()


def test_the_resource_has_the_attributes_of_the_table() -> None:
    telemetry = Telemetry(OtelConfig(), "0.1.0", {names.READER_MODEL: "smollm2"})
    documented = {row.name for row in TABLE if row.kind == "resource"}
    assert set(telemetry.resource.attributes) == documented | {names.READER_MODEL}
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
    changed = CONFIG.changed(alerts={"top_features": 3})
    hashes = [{"latentwatch_config_sha256": config.sha256()} for config in (CONFIG, changed)]
    telemetry.config_loaded(CONFIG, SETS)
    telemetry.config_loaded(changed, SETS)
    for _ in range(2):  # a second scrape still sees them
        assert [value("latentwatch_config_info", labels) for labels in hashes] == [None, 1]
    ready = [False]
    assert value("latentwatch_ready", {}) is None
    telemetry.watch_ready(lambda: ready[0])
    assert value("latentwatch_ready", {}) == 0
    ready[0] = True
    assert value("latentwatch_ready", {}) == 1
    telemetry.shutdown()


def test_lag_and_position_are_there_for_each_partition_and_gone_with_the_broker() -> None:
    telemetry = Telemetry(OtelConfig(), "0.1.0", {})
    value = telemetry.registry.get_sample_value
    where = [{"messaging_destination_name": "t", "messaging_destination_partition_id": n} for n in ("0", "1")]
    names_ = ("latentwatch_lag", "latentwatch_position")
    assert value("latentwatch_partitions_assigned", {}) is None
    found: Sequence[Position] | None = POSITIONS
    telemetry.watch_source(lambda: found)
    assert [value(name, where[0]) for name in names_] == [12, 30]
    assert [value(name, where[1]) for name in names_] == [None, 5]  # its end is not known yet
    assert value("latentwatch_partitions_assigned", {}) == 2
    found = ()
    assert value("latentwatch_partitions_assigned", {}) == 0
    found = None
    assert value("latentwatch_partitions_assigned", {}) is None
    assert [value(name, where[0]) for name in names_] == [None, None]
    telemetry.shutdown()


def test_times_are_there_once_something_happened() -> None:
    telemetry = Telemetry(OtelConfig(), "0.1.0", {})

    def times() -> list[float | None]:
        of = ("event", "commit", "alert")
        return [telemetry.registry.get_sample_value(f"latentwatch_last_{one}_timestamp_seconds", {}) for one in of]

    telemetry.polled(0, 0.5)
    assert times() == [None, None, None]
    before = time.time()
    telemetry.polled(1, 0.5)
    telemetry.committed(1, 0.01)
    telemetry.alert(make_alert())
    assert all(found is not None and before <= found <= time.time() for found in times())
    telemetry.shutdown()


def test_every_series_of_a_configuration_starts_at_zero() -> None:
    rules = [
        {"name": "strict", "when": {"tenant": "bank"}, "sets": {"*": {"severity": "critical"}}},
        {"name": "few", "when": {"tenant": "free"}, "sampling": 0.1},
    ]
    allow = [{"name": "tutor", "system_sha256": "a" * 64, "sets": "*"}]
    config = CONFIG.changed(feature_sets={"rules": rules, "allow": allow}, sinks={"jsonl": {"enabled": True}})
    escalating = make_set(escalations=({"score": 3.0, "severity": "high"},))
    telemetry = Telemetry(OtelConfig(), "0.1.0", {})
    telemetry.config_loaded(config, [replace(SETS[0], set=escalating)])
    value = telemetry.registry.get_sample_value
    of_set = {"latentwatch_set_id": "unsafe-code"}
    severities = [s for s in SEVERITIES if value(ALERTS, of_set | CATEGORY | {"latentwatch_severity": s}) == 0]
    assert severities == ["medium", "high", "critical"]
    for sink in ("kafka", "jsonl", "dead_letter"):
        assert value("latentwatch_sink_failures_total", {"latentwatch_sink": sink}) == 0
    for kind in get_args(BadEventKind):
        assert value("latentwatch_events_dead_lettered_total", {"error_type": kind}) == 0
    assert value("latentwatch_events_sampled_out_total", {"latentwatch_rule": "few"}) == 0
    assert value("latentwatch_events_judged_total", {}) == 0
    assert value("latentwatch_alerts_silenced_total", of_set | {"latentwatch_allowed": "tutor"}) == 0
    active = [value(ACTIVE, of_set | {"latentwatch_feature_index": str(index)}) for index in (3, 7)]
    assert active == [None, 0]  # only those that the set's file names
    telemetry.shutdown()


def test_features_are_counted_only_if_the_config_says_so() -> None:
    telemetry = Telemetry(OtelConfig(), "0.1.0", {})
    telemetry.config_loaded(CONFIG.changed(health={"feature_metrics": False}), SETS)
    telemetry.processed(make_event(), [], 0.1, scores=[SetScore("unsafe-code", "unsafe_code", 0.62, active=(7,))])
    labels = {"latentwatch_set_id": "unsafe-code", "latentwatch_feature_index": "7"}
    assert telemetry.registry.get_sample_value(ACTIVE, labels) is None
    labels = {"latentwatch_set_id": "unsafe-code"} | CATEGORY
    assert telemetry.registry.get_sample_value("latentwatch_score_count", labels) == 1
    telemetry.shutdown()


def test_attributes_are_labels_and_the_many_are_other() -> None:
    telemetry = Telemetry(OtelConfig(), "0.1.0", {})
    telemetry.config_loaded(CONFIG, SETS)
    value = telemetry.registry.get_sample_value
    of_set = {"latentwatch_set_id": "unsafe-code", "latentwatch_severity": "medium"} | CATEGORY
    telemetry.processed(make_event(), [], 0.1, chosen={"tenant": "bank"})
    bank = {"latentwatch_attribute_tenant": "bank"}
    assert value("latentwatch_events_judged_total", bank) == 1
    assert value(ALERTS, of_set | bank) == 0  # a tenant's alerts start at 0 with its first event
    event = make_alert().event.model_copy(update={"attributes": {"tenant": "bank"}})
    telemetry.alert(make_alert(event=event))
    assert value(ALERTS, of_set | bank) == 1
    for n in range(200):
        telemetry.processed(make_event(), [], 0.1, chosen={"tenant": f"t{n}"})
    series = [s.labels for f in telemetry.registry.collect() for s in f.samples if s.name == ALERTS]
    assert len(series) == LIMIT + 2  # the first ones, `other`, and events without the attribute
    other = {"latentwatch_attribute_tenant": "other"}
    assert value("latentwatch_events_judged_total", other) == 201 - LIMIT
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
        telemetry = Telemetry(
            config, "0.1.0", {names.READER_MODEL: "smollm2"}, Stream("llm.events", "g", "c", server="kafka-0:9092")
        )
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
    assert attributes(evaluate)["latentwatch.attribute.tenant"] == "bank"
    assert found["openinference.span.kind"] == "CHAIN"
    assert found["latentwatch.attribute.tenant"] == "bank"
    assert (found["server.address"], found["server.port"]) == ("kafka-0", 9092)
    (read,) = (s for s in spans if s.name == "read smollm2")
    assert (read.trace_id, read.parent_span_id) == (process.trace_id, process.span_id)
    assert attributes(read)["latentwatch.read.tokens"] == 100
    assert read.end_time_unix_nano - read.start_time_unix_nano == 200_000_000
    assert evaluate.start_time_unix_nano == read.end_time_unix_nano
    delivered, not_delivered = (s for s in spans if s.name == "deliver kafka")
    (commit,) = (s for s in spans if s.name == "commit llm.events")
    assert {s.parent_span_id for s in (delivered, not_delivered, commit)} == {poll.span_id}
    assert {s.trace_id for s in (delivered, not_delivered, commit)} == {poll.trace_id}
    assert attributes(not_delivered)["error.type"] == "topic_missing"
    assert attributes(commit)["messaging.operation.type"] == "settle"
    shown = {
        names.POLL: (poll,),
        names.PROCESS: (process, failed),
        names.READ: (read,),
        names.EVALUATE: (evaluate,),
        names.DELIVER: (delivered, not_delivered),
        names.COMMIT: (commit,),
    }
    for row, of in shown.items():
        for span in of:
            assert set(attributes(span)) <= {a.format(name="tenant") for a in row.attributes}, row.name
    assert receiver.schema_urls() == {names.SCHEMA_URL}
    metrics = receiver.metrics()
    assert metrics["latentwatch.alerts"].sum.data_points[0].as_int == 1
    (scores,) = metrics["latentwatch.score"].histogram.data_points
    assert [e.span_id for e in scores.exemplars] == [process.span_id]
    assert list(metrics["messaging.process.duration"].histogram.data_points[0].explicit_bounds) == list(SECONDS)


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


def test_a_receiver_that_hangs_does_not_hold_up_the_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SHUTDOWN_S", 0.05)
    with OtlpReceiver() as receiver:
        receiver.delay_s = 1.0
        telemetry = Telemetry(OtelConfig(enabled=True, endpoint=receiver.url, timeout_s=5), "0.1.0", {})
        telemetry.processed(make_event(), [], 0.1)
        telemetry.shutdown()
        assert receiver.requests == []  # it has not answered yet


def test_abstentions_are_counted_by_set_and_language() -> None:
    telemetry = Telemetry(OtelConfig(), "0.1.0", {})
    found = [Abstention("bias", "fr"), Abstention("bias", "fr"), Abstention("deception", "de")]
    telemetry.processed(make_event(), [], 0.1, abstentions=found)
    value = telemetry.registry.get_sample_value
    labels = {"latentwatch_set_id": "bias", "latentwatch_language": "fr"}
    assert value("latentwatch_abstentions_total", labels) == 2
    assert value("latentwatch_score_count", {"latentwatch_set_id": "bias"}) is None, "no score is not a score of 0"
    telemetry.shutdown()
