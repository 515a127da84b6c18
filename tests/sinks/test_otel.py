"""OtelSink against a real OTLP/HTTP receiver."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource

from monitor.alerts.allow import Silenced
from monitor.config.sinks import OtelConfig
from monitor.demo.free_port import free_port
from monitor.errors import ConfigError, Retryable
from monitor.sinks import otel
from monitor.sinks.otel import OtelSink
from monitor.sinks.sink import Sink
from monitor.telemetry import telemetry as telemetry_module
from monitor.telemetry.otlp import ExportOutcome
from monitor.telemetry.spans import Spans
from monitor.telemetry.telemetry import Stream, Telemetry
from tests.alert_factory import SECRET, SPAN_ID, TRACE_ID, make_alert, make_content, make_event
from tests.otlp_receiver import OtlpReceiver, attributes


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as r:
        yield r


class Pair:
    """A sink and its telemetry, closed together."""

    def __init__(self, url: str, **changes: Any) -> None:
        config = OtelConfig(enabled=True, endpoint=url, **{"timeout_s": 0.5, "metrics_interval_s": 60, **changes})
        self.telemetry = Telemetry(config, "0.1.0", {})
        self.sink = OtelSink(config, self.telemetry)

    def count(self, name: str, signal: str) -> float:
        value = self.telemetry.registry.get_sample_value(name, {"latentwatch_signal": signal})
        assert value is not None
        return value

    def __enter__(self) -> Pair:
        return self

    def __exit__(self, *_: object) -> None:
        self.sink.close()
        self.telemetry.shutdown()


def test_an_alert_becomes_a_log_event_on_the_producers_span(receiver: OtlpReceiver) -> None:
    with Pair(receiver.url) as pair:
        sink: Sink = pair.sink
        alert = make_alert()
        sink.add(alert.within(pair.telemetry.processed(make_event(), [alert], 0.1)))
        assert receiver.logs() == []
        sink.flush()
    (record,) = receiver.logs()
    found = attributes(record)
    assert record.event_name == "gen_ai.evaluation.result"
    assert (record.severity_text, record.severity_number) == ("WARN", 13)
    assert record.time_unix_nano == int(alert.time.timestamp()) * 10**9
    assert (record.trace_id.hex(), record.span_id.hex()) == (TRACE_ID, SPAN_ID)
    assert record.body.string_value == alert.message
    assert found["gen_ai.evaluation.name"] == "unsafe-code"
    assert found["gen_ai.evaluation.score.value"] == 2.5
    assert found["gen_ai.evaluation.score.label"] == "active"
    assert found["gen_ai.evaluation.explanation"] == alert.message
    assert found["gen_ai.response.id"] == "chat-1"
    assert found["gen_ai.conversation.id"] == "conv-9"
    assert found["gen_ai.request.model"] == "gpt-x"
    assert found["security_rule.version"] == "1.0.0"
    assert found["security_rule.ruleset.name"] == "smollm2/resid_post.9"
    assert found["latentwatch.alert.id"] == alert.id
    assert found["latentwatch.severity"] == "medium"
    assert found["latentwatch.feature.indices"] == [7]
    assert found["latentwatch.feature.activations"] == [4.0]
    assert found["latentwatch.feature.tokens"] == ["7:3-8=4"]
    assert found["latentwatch.score.threshold"] == 1.5
    assert found["latentwatch.reader.layer"] == 9
    assert found["latentwatch.sae.sha256"] == "c" * 64


def test_what_the_config_made_of_an_event_is_in_its_spans(receiver: OtlpReceiver) -> None:
    silenced = [Silenced("bias", "tutor"), Silenced("deception", "tutor")]
    with Pair(receiver.url) as pair:
        pair.telemetry.processed(make_event(), [make_alert(rules=("acme", "night"))], 0.1, silenced=silenced)
        pair.telemetry.processed(make_event(), [], 0.1)
    found = {span.name: attributes(span) for span in receiver.spans()[:2]}
    assert found["evaluate unsafe-code"]["latentwatch.rules"] == ["acme", "night"]
    assert found["process llm.events"]["latentwatch.silenced"] == ["bias by tutor", "deception by tutor"]
    assert "latentwatch.silenced" not in attributes(receiver.spans()[2])


@pytest.mark.parametrize(
    ("severity", "level"),
    [("info", "WARN"), ("low", "WARN"), ("medium", "WARN"), ("high", "ERROR"), ("critical", "ERROR")],
)
def test_grave_alerts_are_errors(receiver: OtlpReceiver, severity: str, level: str) -> None:
    with Pair(receiver.url) as pair:
        pair.sink.add(make_alert(severity=severity))
        pair.sink.flush()
    assert [r.severity_text for r in receiver.logs()] == [level]


@pytest.mark.parametrize("traceparent", [None, "not a traceparent"])
def test_without_a_producer_context_the_log_event_belongs_to_the_process_span(
    receiver: OtlpReceiver, traceparent: str | None
) -> None:
    with Pair(receiver.url) as pair:
        alert = make_alert(traceparent=traceparent, trace_id=None)
        pair.sink.add(alert.within(pair.telemetry.processed(make_event(traceparent=None), [alert], 0.1)))
        pair.sink.add(make_alert("never-processed", traceparent=traceparent, trace_id=None))
        pair.sink.flush()
    record, orphan = receiver.logs()
    process = next(s for s in receiver.spans() if s.name == "process llm.events")
    assert (record.trace_id, record.span_id) == (process.trace_id, process.span_id)
    assert orphan.trace_id == b""


def test_text_leaves_only_inside_captured_content(receiver: OtlpReceiver) -> None:
    with Pair(receiver.url) as pair:
        alert = make_alert()
        pair.telemetry.processed(make_event(), [alert], 0.1)
        pair.sink.add(alert)
        pair.sink.flush()
        pair.telemetry.shutdown()
        sent = b"".join(body for _, _, body in receiver.requests)
        assert SECRET.encode() not in sent
        assert b"latentwatch.content" not in sent
        assert b"input.value" not in sent

    receiver.requests.clear()
    with Pair(receiver.url) as pair:
        alert = make_alert(content=make_content())
        pair.telemetry.processed(make_event(), [alert], 0.1)
        pair.sink.add(alert)
        pair.sink.flush()
    log = attributes(receiver.logs()[0])
    assert log["latentwatch.content.prompt"] == f"prompt: {SECRET}"
    assert log["latentwatch.content.text"] == f"reply: {SECRET}"
    span = attributes(next(s for s in receiver.spans() if s.name == "evaluate unsafe-code"))
    assert span["input.value"] == f"prompt: {SECRET}"
    assert span["output.value"] == f"reply: {SECRET}"


def test_receiver_down_is_retryable_with_the_true_reason() -> None:
    with Pair(f"http://127.0.0.1:{free_port()}") as pair:
        pair.sink.add(make_alert())
        with pytest.raises(Retryable, match=r"1 alerts not delivered: Connection refused"):
            pair.sink.flush()
        assert pair.count("latentwatch_export_failures_total", "logs") == 1
        assert pair.count("latentwatch_export_dropped_total", "logs") == 0


def test_a_slow_receiver_times_out(receiver: OtlpReceiver) -> None:
    receiver.delay_s = 2.0
    with Pair(receiver.url, timeout_s=0.2) as pair:
        pair.sink.add(make_alert())
        with pytest.raises(Retryable, match="no answer in time"):
            pair.sink.flush()


@pytest.mark.parametrize("status", [302, 400, 401, 413, 500])
def test_every_answer_but_2xx_is_a_failure(receiver: OtlpReceiver, status: int) -> None:
    receiver.status = status
    with Pair(receiver.url) as pair:
        pair.sink.add(make_alert())
        with pytest.raises(Retryable, match=f"HTTP {status}"):
            pair.sink.flush()


def test_the_receiver_says_when_to_come_back(receiver: OtlpReceiver) -> None:
    receiver.status, receiver.headers = 429, {"Retry-After": "17"}
    with Pair(receiver.url) as pair:
        pair.sink.add(make_alert())
        with pytest.raises(Retryable) as caught:
            pair.sink.flush()
    assert caught.value.retry_after_s == 17


def test_after_reset_the_same_alerts_arrive_once_the_receiver_is_back() -> None:
    port = free_port()
    alerts = [make_alert("a"), make_alert("b")]
    with Pair(f"http://127.0.0.1:{port}") as pair:
        for alert in alerts:
            pair.sink.add(alert)
        with pytest.raises(Retryable):
            pair.sink.flush()
        with OtlpReceiver(port) as receiver:
            pair.sink.reset()
            for alert in alerts:
                pair.sink.add(alert)
            pair.sink.flush()
            pair.telemetry.shutdown()
    assert [attributes(r)["latentwatch.alert.id"] for r in receiver.logs()] == [a.id for a in alerts]


def test_alerts_that_the_receiver_refuses_are_counted_not_repeated(receiver: OtlpReceiver) -> None:
    receiver.rejected = 1
    with Pair(receiver.url) as pair:
        pair.sink.add(make_alert("a"))
        pair.sink.add(make_alert("b"))
        pair.sink.flush()
        assert pair.count("latentwatch_export_dropped_total", "logs") == 1
        pair.sink.flush()
    assert len(receiver.logs()) == 2


def test_a_full_buffer_is_exported_before_more_is_taken(
    receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otel, "_MAX_RECORDS", 3)
    with Pair(receiver.url) as pair:
        for n in range(4):
            pair.sink.add(make_alert(f"e{n}"))
        assert len(receiver.logs()) == 3
        pair.sink.flush()
        assert len(receiver.logs()) == 4
        receiver.status = 500
        for n in range(3):
            pair.sink.add(make_alert(f"f{n}"))
        with pytest.raises(Retryable):
            pair.sink.add(make_alert("f3"))


def test_much_captured_text_is_split_into_requests(receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otel, "_MAX_TEXT_CHARS", 100)
    with Pair(receiver.url) as pair:
        for n in range(3):
            pair.sink.add(make_alert(f"e{n}", content=make_content()))
        pair.sink.flush()
    assert sum(path == "/v1/logs" for path, _, _ in receiver.requests) == 3


def test_reset_forgets_what_was_added(receiver: OtlpReceiver) -> None:
    with Pair(receiver.url) as pair:
        pair.sink.add(make_alert())
        pair.sink.reset()
        pair.sink.flush()
    assert receiver.logs() == []


def test_headers_come_from_the_file_and_are_read_again_on_reset(receiver: OtlpReceiver, tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_text("# tokens\n\nAuthorization: Bearer one:two\nx-scope: prod\n")
    with Pair(receiver.url, headers_file=file) as pair:
        for content in ("Authorization: Bearer three\n", "broken"):
            pair.sink.add(make_alert())
            pair.sink.flush()
            file.write_text(content)
            pair.sink.reset()
        pair.sink.add(make_alert())
        pair.sink.flush()
        file.write_text("")
    sent = [headers for path, headers, _ in receiver.requests if path == "/v1/logs"]
    assert [h["authorization"] for h in sent] == ["Bearer one:two", "Bearer three", "Bearer three"]
    assert sent[0]["x-scope"] == "prod"
    assert sent[0]["content-encoding"] == "gzip"


def test_bad_headers_files_name_key_and_lines_and_keep_the_secret(tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_text("ok: 1\nBearer hush\nok: 2\nbad name: x\nempty:\n")
    with pytest.raises(ConfigError) as caught:
        Pair("http://127.0.0.1:1", headers_file=file)
    assert [p.partition(": expected")[0].partition(": this")[0] for p in caught.value.problems] == [
        f"sinks.otel.headers_file: {file}: line {n}" for n in (2, 3, 4, 5)
    ]
    assert "hush" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"sinks\.otel\.headers_file: .*missing: No such file"):
        Pair("http://127.0.0.1:1", headers_file=tmp_path / "missing")


@pytest.mark.parametrize("url", ["", "collector:4318", "ftp://collector", "http://", "http://host:port", "http://["])
def test_a_bad_endpoint_is_a_config_error(url: str) -> None:
    with pytest.raises(ConfigError, match=r"sinks\.otel\.endpoint"):
        Pair(url)


def test_a_disabled_sdk_is_a_config_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    telemetry = Telemetry(OtelConfig(), "0.1.0", {})
    with pytest.raises(ConfigError, match="OTEL_SDK_DISABLED"):
        OtelSink(OtelConfig(enabled=True), telemetry)
    telemetry.shutdown()


def test_spans_wait_in_bounds_while_the_receiver_is_down(
    receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry_module, "_SHUTDOWN_S", 30)
    receiver.status = 500
    with Pair(receiver.url, timeout_s=30) as pair:
        for n in range(2_050):
            pair.telemetry.processed(make_event(f"e{n}"), [], 0.01)
        assert pair.count("latentwatch_export_dropped_total", "traces") == 2
        pair.sink.flush()
        assert pair.count("latentwatch_export_failures_total", "traces") == 1
        pair.sink.flush()  # held off: not tried again at once
        assert pair.count("latentwatch_export_failures_total", "traces") == 1
        receiver.status = 200
    assert len(receiver.spans()) == 2_048


def test_spans_that_end_during_an_export_keep_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    dropped: list[int] = []
    config = OtelConfig(enabled=True)
    spans = Spans(config, Resource.create(), "0.1.0", Stream().attributes(), lambda _, n: dropped.append(n), limit=4)
    kept: list[str] = []

    def export(batch: Sequence[Any]) -> ExportOutcome:
        if not dropped:  # as the loop's thread would, at the same time
            for n in range(4, 7):
                spans.processed(make_event(f"e{n}"), [], 0.01, None)
            return ExportOutcome(failure="down")
        kept.extend(span.attributes["gen_ai.response.id"] for span in batch)
        return ExportOutcome()

    monkeypatch.setattr(spans._exporter, "export", export)
    for n in range(4):
        spans.processed(make_event(f"e{n}"), [], 0.01, None)
    spans.flush()
    assert dropped == [3, 0]
    spans.close()
    assert kept == ["e3", "e4", "e5", "e6"]


def test_spans_given_up_at_the_end_are_counted() -> None:
    dropped: list[int] = []
    config = OtelConfig(enabled=True, endpoint=f"http://127.0.0.1:{free_port()}", timeout_s=0.2)
    spans = Spans(config, Resource.create(), "0.1.0", Stream().attributes(), lambda _, n: dropped.append(n))
    spans.processed(make_event(), [make_alert()], 0.01, None)
    spans.close()
    assert dropped == [0, 2]
