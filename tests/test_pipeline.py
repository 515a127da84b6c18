"""Pipeline: what happens in which order, and what survives when something fails."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from monitor import pipeline as pipeline_module
from monitor.alerts.abstention import Abstention
from monitor.alerts.alert import Alert
from monitor.alerts.allow import Silenced
from monitor.config.sinks import OtelConfig
from monitor.engine import Evaluation
from monitor.errors import BadEvent, Permanent, Retryable
from monitor.events.event import Event, EventLimits, Origin, Record
from monitor.events.position import Position
from monitor.events.unread_range import UnreadRange
from monitor.pipeline import Delivery, Pipeline, Totals
from monitor.sinks.jsonl import JsonlDeadLetters, JsonlSink
from monitor.sinks.optional import OptionalSink
from monitor.sinks.status import SinkStatus
from monitor.sources.file import FileSource
from monitor.telemetry.health import Health
from monitor.telemetry.telemetry import Telemetry
from tests.alert_factory import make_alert
from tests.otlp_receiver import OtlpReceiver, attributes


class SmallEngine:
    """Makes an alert of every response with "alert" in it; fails on those with "boom"; one group an event."""

    def evaluate(self, events: Sequence[Event], on_group: Callable[[], None] = lambda: None) -> Iterator[Evaluation]:
        for event in events:
            if "long" in event.response:
                raise BadEvent("9 tokens, over events.max_tokens = 8", kind="size")
            if "boom" in event.response:
                raise RuntimeError("the reader broke")
            on_group()
            if "rare" in event.response:
                yield Evaluation(event, (), tokens=0, windows=0, fallback=False, seconds=0, sampled_out="few")
                continue
            alerts = (make_alert(event.id),) if "alert" in event.response else ()
            silenced = (Silenced("bias", "tutor"),) if "quiet" in event.response else ()
            abstentions = (Abstention("bias", "fr"),) * event.response.count("bonjour")
            yield Evaluation(
                event, alerts, 3, 1, fallback=False, seconds=0.1, silenced=silenced, abstentions=abstentions
            )


class RecordingSource:
    """Hands out batches of records and writes down what it is asked for."""

    unready = ""

    def __init__(
        self, calls: list[str], *batches: list[Record | UnreadRange], commit_errors: int = 0, poll_errors: int = 0
    ) -> None:
        self._calls = calls
        self._batches = list(batches)
        self._commit_errors = commit_errors
        self._poll_errors = poll_errors
        self.uncommitted: list[Record | UnreadRange] = []

    @property
    def exhausted(self) -> bool:
        return not self._batches

    def poll(self) -> Sequence[Record | UnreadRange]:
        self._calls.append("poll")
        if self._poll_errors:
            self._poll_errors -= 1
            raise Retryable("no broker", 0)
        self.uncommitted += self._batches[0]
        return self._batches.pop(0)

    def keep_alive(self) -> None:
        self._calls.append("keep_alive")

    def commit(self) -> None:
        self._calls.append("commit")
        if self._commit_errors:
            self._commit_errors -= 1
            raise Retryable("no coordinator", 0)
        self.uncommitted.clear()

    def positions(self) -> Sequence[Position] | None:
        return [Position("t", 0, 1, 5)]

    def close(self) -> None:
        self._calls.append("close")


class RecordingSink:
    """Keeps what was flushed; fails as often as told, after it has taken the first alert of the batch."""

    def __init__(
        self, calls: list[str], name: str = "sink", errors: int = 0, on_error: Callable[[], None] = lambda: None
    ):
        self.name = name
        self._calls = calls
        self._errors = errors
        self._on_error = on_error
        self._pending: list[Any] = []
        self.safe: list[Any] = []

    def add(self, *item: Any) -> None:
        self._pending.append(item[0] if len(item) == 1 else item)

    def flush(self) -> None:
        self._calls.append(f"{self.name}.flush")
        if self._errors:
            self._errors -= 1
            self.safe += self._pending[:1]
            self._on_error()
            raise Retryable("disk full", 0)
        self.safe += self._pending
        self._pending.clear()

    def reset(self) -> None:
        self._calls.append(f"{self.name}.reset")
        self._pending.clear()

    def close(self) -> None:
        self._calls.append(f"{self.name}.close")


def record(number: int, response: str = "fine", value: bytes | None = None) -> Record:
    body = json.dumps({"id": f"e{number}", "response": response}).encode()
    return Record(body if value is None else value, Origin("t", 0, number))


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    made = Telemetry(OtelConfig(), "0", {})
    yield made
    made.shutdown()


@pytest.fixture
def stop() -> threading.Event:
    return threading.Event()


class Loop:
    """A pipeline around doubles that share one list of calls."""

    def __init__(self, telemetry: Telemetry, stop: threading.Event) -> None:
        self.calls: list[str] = []
        self.letters = RecordingSink(self.calls, "letters")
        self.health = Health(300)
        self.reports: list[int] = []
        self.engine = SmallEngine()
        self._telemetry = telemetry
        self._stop = stop

    def run(
        self, source: Any, *sinks: Any, letters: Any = None, between_batches: Callable[[], None] = lambda: None
    ) -> Totals:
        delivery = Delivery(sinks, letters or self.letters, EventLimits(max_bytes=1_000), "auto")
        self.pipeline = Pipeline(
            source,
            self.engine,
            delivery,
            self._telemetry,
            self.health,
            self._stop,
            self._report,
            between_batches,
        )
        return self.pipeline.run()

    def _report(self, totals: Totals) -> None:
        self.calls.append("report")
        self.reports.append(totals.records)


@pytest.fixture
def loop(telemetry: Telemetry, stop: threading.Event) -> Loop:
    return Loop(telemetry, stop)


STREAM = {
    "messaging_system": "kafka",
    "messaging_destination_name": "llm.events",
    "messaging_consumer_group_name": "latentwatch",
    "messaging_client_id": "latentwatch",
}


def metric(telemetry: Telemetry, name: str, **labels: str) -> float | None:
    return telemetry.registry.get_sample_value(name, labels)


def ids(alerts: Sequence[Alert]) -> list[str]:
    return [a.event.id for a in alerts]


# ---- with real files


def test_a_file_from_end_to_end(loop: Loop, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    rows = [record(1, "alert"), record(2), record(3, value=b"no json"), record(4, "boom"), record(5, "alert")]
    source.write_bytes(b"\n".join(r.value or b"" for r in rows))
    file, sink = FileSource(str(source), 1_000, batch=2), JsonlSink(tmp_path / "alerts.jsonl")
    letters = JsonlDeadLetters(tmp_path / "bad.jsonl")
    totals = loop.run(file, sink, letters=letters)
    for part in (file, sink, letters):
        part.close()
    assert totals == Totals(records=5, events=3, bad=2, alerts=2, tokens=9)
    assert ids([Alert.from_json(line) for line in (tmp_path / "alerts.jsonl").read_text().splitlines()]) == ["e1", "e5"]
    bad = [json.loads(line) for line in (tmp_path / "bad.jsonl").read_text().splitlines()]
    assert [(b["offset"], b["reason"].split(":")[0]) for b in bad] == [(3, "not JSON"), (4, "RuntimeError")]
    assert loop.reports == [2, 4, 5]


def test_what_a_rule_does_not_read_is_counted(loop: Loop, telemetry: Telemetry) -> None:
    totals = loop.run(RecordingSource(loop.calls, [record(1, "rare"), record(2, "fine"), record(3, "rare")]))
    assert (totals.events, totals.sampled_out, totals.tokens) == (3, 2, 3)
    assert metric(telemetry, "latentwatch_events_sampled_out_total", latentwatch_rule="few") == 2
    assert metric(telemetry, "latentwatch_records_total", latentwatch_record_outcome="sampled_out") == 2
    assert metric(telemetry, "latentwatch_records_total", latentwatch_record_outcome="judged") == 1
    assert metric(telemetry, "latentwatch_read_duration_seconds_count") == 1


def test_abstentions_are_counted(loop: Loop, telemetry: Telemetry) -> None:
    totals = loop.run(
        RecordingSource(loop.calls, [record(1, "bonjour bonjour"), record(2, "alert"), record(3, "bonjour")])
    )
    assert (totals.abstained, totals.alerts) == (3, 1)
    labels = {"latentwatch_set_id": "bias", "latentwatch_language": "fr"}
    assert metric(telemetry, "latentwatch_abstentions_total", **labels) == 3


def test_what_the_allow_list_keeps_back_is_counted_and_bad_events_are_not_kept_back(
    loop: Loop, telemetry: Telemetry
) -> None:
    totals = loop.run(
        RecordingSource(loop.calls, [record(1, "quiet"), record(2, value=b"{"), record(3, "quiet alert")])
    )
    assert (totals.silenced, totals.alerts, totals.bad) == (2, 1, 1)
    labels = {"latentwatch_set_id": "bias", "latentwatch_allowed": "tutor"}
    assert metric(telemetry, "latentwatch_alerts_silenced_total", **labels) == 2
    assert len(loop.letters.safe) == 1


# ---- order


def test_what_happens_between_batches_happens_before_each_poll(loop: Loop) -> None:
    loop.run(
        RecordingSource(loop.calls, [record(1)], [record(2)]), between_batches=lambda: loop.calls.append("between")
    )
    assert loop.calls == ["between", "poll", "keep_alive", "commit", "report"] * 2


def test_everything_is_flushed_before_the_commit(loop: Loop) -> None:
    first, second = RecordingSink(loop.calls, "first"), RecordingSink(loop.calls, "second")
    loop.run(RecordingSource(loop.calls, [record(1, "alert"), record(2, value=b"{")]), first, second)
    assert loop.calls == ["poll", "keep_alive", "letters.flush", "first.flush", "second.flush", "commit", "report"]
    assert ids(first.safe) == ids(second.safe) == ["e1"]


def test_the_source_is_kept_alive_between_groups(loop: Loop) -> None:
    loop.run(RecordingSource(loop.calls, [record(n) for n in range(5)]), RecordingSink(loop.calls))
    assert loop.calls == ["poll", *["keep_alive"] * 5, "sink.flush", "commit", "report"]


def test_an_empty_poll_flushes_nothing_and_commits_what_has_no_records(loop: Loop) -> None:
    totals = loop.run(RecordingSource(loop.calls, [], [record(1)], []), RecordingSink(loop.calls))
    assert loop.calls.count("commit") == 3
    assert loop.calls.count("sink.flush") == 1
    assert totals.records == 1


# ---- what cannot be read

GAP = UnreadRange("t", 0, 5, 8, "codec", "the compression codec lz5 is unknown")


def test_an_unread_range_is_dead_lettered_and_counted_before_the_commit(loop: Loop, telemetry: Telemetry) -> None:
    totals = loop.run(RecordingSource(loop.calls, [record(4), GAP, record(9, "alert")]), RecordingSink(loop.calls))
    assert (totals.records, totals.unread, totals.bad, totals.alerts) == (2, 4, 0, 1)
    ((letter, error),) = loop.letters.safe
    assert (letter.origin, letter.value) == (Origin("t", 0, 5), None)
    assert error.reason == GAP.reason
    assert loop.calls.index("letters.flush") < loop.calls.index("commit")
    assert metric(telemetry, "latentwatch_source_unread_total", error_type="codec") == 4
    assert metric(telemetry, "latentwatch_source_unread_total", error_type="corrupt") == 0
    assert metric(telemetry, "latentwatch_events_dead_lettered_total", error_type="unreadable") == 0


def test_nothing_is_committed_past_a_range_whose_dead_letter_is_not_safe(loop: Loop, stop: threading.Event) -> None:
    loop.letters = RecordingSink(loop.calls, "letters", errors=1, on_error=stop.set)
    loop.run(RecordingSource(loop.calls, [GAP], [record(9)]), RecordingSink(loop.calls))
    assert "commit" not in loop.calls


def test_data_that_cannot_be_read_is_a_reason_until_a_record_is(loop: Loop) -> None:
    loop.health.set_ready("model", True)
    loop.run(RecordingSource(loop.calls, [record(4), GAP]), RecordingSink(loop.calls))
    assert loop.health.ready() == []
    loop.run(RecordingSource(loop.calls, [GAP]), RecordingSink(loop.calls))
    assert loop.health.ready() == ["records: not read: t-0 offsets 5 to 8: the compression codec lz5 is unknown"]
    loop.run(RecordingSource(loop.calls, [record(9)]), RecordingSink(loop.calls))
    assert loop.health.ready() == []


def test_a_failing_reader_is_a_reason_until_it_works(loop: Loop) -> None:
    loop.health.set_ready("model", True)
    loop.run(RecordingSource(loop.calls, [record(1, "boom"), record(2, "boom")]), RecordingSink(loop.calls))
    assert loop.health.ready() == ["reader: the reader failed on the last 2 events"]


def test_failed_polls_are_counted_by_reason(loop: Loop, telemetry: Telemetry) -> None:
    loop.run(RecordingSource(loop.calls, [record(1)], poll_errors=2), RecordingSink(loop.calls))
    assert metric(telemetry, "latentwatch_source_failures_total", error_type="other") == 2


# ---- failures that pass


def test_a_failed_flush_is_repeated_for_that_sink_alone_and_nothing_is_committed_meanwhile(
    loop: Loop, telemetry: Telemetry
) -> None:
    healthy, failing = RecordingSink(loop.calls, "healthy"), RecordingSink(loop.calls, "failing", errors=2)
    source = RecordingSource(loop.calls, [record(1, "alert"), record(2, "alert"), record(3, value=b"{")])
    loop.run(source, healthy, failing)
    once, again = ["letters.flush", "healthy.flush", "failing.flush"], ["failing.reset", "failing.flush"]
    without_pauses = [c for c in loop.calls if c != "keep_alive"]
    assert without_pauses == ["poll", *once, *again, *again, "commit", "report"]
    assert ids(healthy.safe) == ["e1", "e2"]
    assert set(ids(failing.safe)) == {"e1", "e2"}
    assert ids(failing.safe)[-2:] == ["e1", "e2"]
    assert len({a.id for a in failing.safe}) == 2  # what came twice came under one id
    assert "keep_alive" in loop.calls[loop.calls.index("failing.flush") : loop.calls.index("failing.reset")]
    assert metric(telemetry, "latentwatch_sink_failures_total", latentwatch_sink="failing") == 2
    assert loop.pipeline.totals.alerts == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("required", [True, False])
def test_a_full_disk_is_named_and_holds_up_only_what_needs_it(
    loop: Loop, telemetry: Telemetry, stop: threading.Event, required: bool
) -> None:
    loop.health.set_ready("model", True)
    told: list[list[str]] = []

    class Watching(RecordingSource):
        def keep_alive(self) -> None:  # between the attempts, too
            super().keep_alive()
            told.append(loop.health.ready())
            if metric(telemetry, "latentwatch_sink_failures_total", latentwatch_sink="jsonl") == 1:
                stop.set()

    full: Any = JsonlSink(Path("/dev/full"), fsync=False)
    full = full if required else OptionalSink(full, SinkStatus(telemetry, loop.health))
    other = RecordingSink(loop.calls, "kafka")
    loop.run(Watching(loop.calls, [record(1, "alert"), record(2, "alert")]), full, other)
    full.close()
    assert ids(other.safe) == ["e1", "e2"]
    fault = "sink jsonl: /dev/full: not written: No space left on device"
    assert ([fault] in told, "commit" in loop.calls) == (required, not required)
    assert loop.health.warnings() == ([] if required else [fault])


def test_a_failed_commit_is_repeated_without_delivering_again(loop: Loop) -> None:
    sink = RecordingSink(loop.calls)
    loop.run(RecordingSource(loop.calls, [record(1, "alert")], commit_errors=1), sink)
    assert [c for c in loop.calls if c != "keep_alive"] == ["poll", "sink.flush", "commit", "commit", "report"]
    assert ids(sink.safe) == ["e1"]


def test_a_failed_poll_is_repeated(loop: Loop) -> None:
    totals = loop.run(RecordingSource(loop.calls, [record(1)], poll_errors=1), RecordingSink(loop.calls))
    assert totals.records == 1


def test_an_outage_of_many_hours_is_waited_out(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.pipeline._LONGEST_BACKOFF_S", 0.0)
    totals = loop.run(RecordingSource(loop.calls, [record(1, "alert")]), RecordingSink(loop.calls, errors=1_100))
    assert totals.records == 1


def test_pauses_stay_short_however_long_an_outage_lasts_and_the_log_does_too(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert pipeline_module._LONGEST_BACKOFF_S <= 2  # work must go on within 5 s of a broker's return
    monkeypatch.setattr(pipeline_module, "_LONGEST_BACKOFF_S", 0.0)
    loop.run(RecordingSource(loop.calls, [record(1, "alert")]), RecordingSink(loop.calls, errors=60))
    told = [r.getMessage() for r in caplog.records if "trying again" in r.getMessage()]
    assert told == ["disk full; trying again in 0.0 s"] * 7  # the first four, and then every 15th


def test_readiness_is_kept_up_to_date_during_an_outage(loop: Loop) -> None:
    class LeavingSource(RecordingSource):
        def keep_alive(self) -> None:
            self.unready = "no broker of x:1 answers"
            super().keep_alive()

    seen: list[list[str]] = []
    sink = RecordingSink(loop.calls, errors=2, on_error=lambda: seen.append(loop.health.ready()))
    loop.run(LeavingSource(loop.calls, [record(1, "alert")]), sink)
    assert "consumer: no broker of x:1 answers" in seen[-1]


def test_an_outage_is_logged_from_its_start_to_its_end(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    class ReturningSource(RecordingSource):
        def keep_alive(self) -> None:
            self.unready = "no broker of x:1 answers"
            super().keep_alive()

        def commit(self) -> None:
            self.unready = ""
            super().commit()

    caplog.set_level("INFO", "monitor.pipeline")
    sink = RecordingSink(loop.calls, errors=1)
    loop.run(ReturningSource(loop.calls, [record(1, "alert")], [record(2)]), sink)
    told = [(r.levelname, r.getMessage()) for r in caplog.records]
    assert told == [
        ("WARNING", "disk full; trying again in 0.5 s"),
        ("WARNING", "consumer: no broker of x:1 answers"),
        ("INFO", "recovered (failed attempts: 1)"),
        ("INFO", "consumer: ready"),
    ]


def test_a_stop_during_an_outage_commits_nothing(loop: Loop, stop: threading.Event) -> None:
    source = RecordingSource(loop.calls, [record(1, "alert")], [record(2)])
    sink = RecordingSink(loop.calls, errors=99, on_error=stop.set)
    totals = loop.run(source, sink)
    assert "commit" not in loop.calls
    assert loop.calls.count("poll") == 1
    assert [r.origin.offset for r in source.uncommitted] == [1]
    assert (totals.records, loop.reports) == (0, [])


def test_a_stop_ends_the_loop_after_the_batch_in_hand(loop: Loop, stop: threading.Event) -> None:
    class StoppingSink(RecordingSink):
        def flush(self) -> None:
            stop.set()
            super().flush()

    totals = loop.run(RecordingSource(loop.calls, [record(1)], [record(2)]), StoppingSink(loop.calls))
    assert totals.records == 1
    assert loop.calls[-2:] == ["commit", "report"]


def test_a_permanent_failure_ends_the_run_without_a_commit(loop: Loop) -> None:
    class RefusingSink(RecordingSink):
        def flush(self) -> None:
            raise Permanent("not authorised")

    with pytest.raises(Permanent, match="not authorised"):
        loop.run(RecordingSource(loop.calls, [record(1)]), RefusingSink(loop.calls))
    assert "commit" not in loop.calls


def test_an_alert_that_is_sent_again_belongs_to_the_same_span(stop: threading.Event) -> None:
    calls: list[str] = []
    with OtlpReceiver() as receiver:
        telemetry = Telemetry(OtelConfig(enabled=True, endpoint=receiver.url, timeout_s=2), "0", {})
        sink = RecordingSink(calls, errors=1)
        Loop(telemetry, stop).run(RecordingSource(calls, [record(1, "alert"), record(2, "alert")]), sink)
        telemetry.shutdown()
    spans = {
        attributes(span)["gen_ai.response.id"]: f"00-{span.trace_id.hex()}-{span.span_id.hex()}"
        for span in receiver.spans()
        if span.name == "process t"
    }
    assert len(set(spans.values())) == 2
    assert [a.event.id for a in sink.safe] == ["e1", "e1", "e2"]  # the first flush failed after e1
    assert all(alert.process_traceparent.startswith(spans[alert.event.id]) for alert in sink.safe)


def test_without_spans_alerts_name_none(loop: Loop) -> None:
    sink = RecordingSink(loop.calls)
    loop.run(RecordingSource(loop.calls, [record(1, "alert")]), sink)
    assert [alert.process_traceparent for alert in sink.safe] == [None]


# ---- bad events

BAD = [b"", b"{", b"\xff", b"[]", b"{}", b'{"id":"a","prompt":1}', b"x" * 1_001, b"[" * 900, b'{"id":"\\ud800"}']


def test_bad_events_never_stop_the_loop(loop: Loop, telemetry: Telemetry) -> None:
    batch = [record(n, value=value) for n, value in enumerate(BAD * 3)]
    tombstone = Record(None, Origin("t", 1, 0))
    sink = RecordingSink(loop.calls)
    totals = loop.run(RecordingSource(loop.calls, [*batch, tombstone], [record(99, "alert")]), sink)
    assert (totals.records, totals.bad, totals.events) == (len(batch) + 2, len(batch) + 1, 1)
    assert [r for r, _ in loop.letters.safe] == [*batch, tombstone]
    assert all(isinstance(e, BadEvent) for _, e in loop.letters.safe)
    assert ids(sink.safe) == ["e99"]
    kinds = {"size": 3, "encoding": 3, "json": 9, "schema": 13}
    for kind, count in kinds.items():
        assert metric(telemetry, "latentwatch_events_dead_lettered_total", error_type=kind) == count


def test_an_event_that_the_reader_fails_on_is_taken_out_alone(loop: Loop, telemetry: Telemetry) -> None:
    sink = RecordingSink(loop.calls)
    batch = [record(1, "alert"), record(2, "boom"), record(3, "alert")]
    totals = loop.run(RecordingSource(loop.calls, batch), sink)
    assert ids(sink.safe) == ["e1", "e3"]
    ((letter, error),) = loop.letters.safe
    assert letter is batch[1]
    assert (error.kind, error.reason) == ("unreadable", "RuntimeError: the reader broke")
    assert (totals.events, totals.bad, totals.alerts) == (2, 1, 2)
    assert metric(telemetry, "latentwatch_events_dead_lettered_total", error_type="unreadable") == 1
    assert metric(telemetry, "latentwatch_tokens_total") == 6  # nothing is counted twice
    assert metric(telemetry, "latentwatch_events_judged_total") == 2
    stream = STREAM | {"messaging_operation_name": "process"}
    failed = stream | {"error_type": "unreadable"}
    assert metric(telemetry, "messaging_process_duration_seconds_count", **stream, error_type="") == 2
    assert metric(telemetry, "messaging_process_duration_seconds_count", **failed) == 1


def test_times_and_ages_are_those_of_the_commit(loop: Loop, telemetry: Telemetry) -> None:
    an_hour_ago = replace(record(1), time_ms=int((time.time() - 3_600) * 1_000))
    loop.run(RecordingSource(loop.calls, [an_hour_ago, record(2)]), RecordingSink(loop.calls))
    assert metric(telemetry, "latentwatch_event_age_seconds_count") == 1  # the other has no time
    assert metric(telemetry, "latentwatch_event_age_seconds_bucket", le="900.0") == 0
    assert metric(telemetry, "latentwatch_event_age_seconds_bucket", le="21600.0") == 1
    assert metric(telemetry, "latentwatch_last_commit_timestamp_seconds") is not None


def test_the_source_s_positions_are_shown(loop: Loop, telemetry: Telemetry) -> None:
    loop.run(RecordingSource(loop.calls, [record(1)]), RecordingSink(loop.calls))
    where = {"messaging_destination_name": "t", "messaging_destination_partition_id": "0"}
    assert metric(telemetry, "latentwatch_lag", **where) == 4


def test_events_that_are_too_long_to_read_are_no_sign_of_a_broken_reader(loop: Loop) -> None:
    batch = [record(1, "alert"), *(record(n, "long") for n in range(2, 14)), record(14, "alert")]
    sink = RecordingSink(loop.calls)
    totals = loop.run(RecordingSource(loop.calls, batch), sink)
    assert ids(sink.safe) == ["e1", "e14"]
    assert {error.kind for _, error in loop.letters.safe} == {"size"}
    assert (totals.events, totals.bad) == (2, 12)


def test_one_unreadable_choice_of_several_is_one_dead_letter(loop: Loop) -> None:
    choices = [
        {"index": i, "message": {"role": "assistant", "content": t}} for i, t in enumerate(["alert", "boom", "boom"])
    ]
    body = {"request": {"messages": []}, "response": {"id": "r", "choices": choices}}
    sink = RecordingSink(loop.calls)
    loop.run(RecordingSource(loop.calls, [record(1, value=json.dumps(body).encode())]), sink)
    assert ids(sink.safe) == ["r"]
    assert len(loop.letters.safe) == 1


@pytest.mark.parametrize("batches", [1, 5, 10])
def test_ten_unreadable_events_in_a_row_are_not_the_events_fault(loop: Loop, batches: int) -> None:
    size = 10 // batches
    source = RecordingSource(loop.calls, *([record(n, "boom") for n in range(size)] for _ in range(batches)))
    with pytest.raises(Permanent, match="failed on 10 events in a row: the reader broke"):
        loop.run(source, RecordingSink(loop.calls))
    assert loop.calls.count("commit") == batches - 1
    assert len(source.uncommitted) == size


def test_one_readable_event_starts_the_count_anew(loop: Loop) -> None:
    batch = [*(record(n, "boom") for n in range(9)), record(9), *(record(n, "boom") for n in range(10, 19))]
    totals = loop.run(RecordingSource(loop.calls, batch), RecordingSink(loop.calls))
    assert (totals.events, totals.bad) == (1, 18)


def test_batches_of_nothing_but_bad_records_do_not_start_the_count_anew(loop: Loop) -> None:
    batches = [
        b for n in range(5) for b in ([record(n, "boom"), record(n + 50, "boom")], [record(n + 100, value=b"{")])
    ]
    with pytest.raises(Permanent, match="10 events in a row"):
        loop.run(RecordingSource(loop.calls, *batches), RecordingSink(loop.calls))


# ---- readiness


@pytest.mark.parametrize(
    ("unready", "reasons"), [("", []), ("waiting for partitions", ["consumer: waiting for partitions"])]
)
def test_the_consumer_is_ready_when_the_source_is(loop: Loop, unready: str, reasons: list[str]) -> None:
    assert loop.health.ready() == ["consumer: has not reported yet"]
    source = RecordingSource(loop.calls, [record(1)])
    source.unready = unready
    loop.run(source, RecordingSink(loop.calls))
    assert loop.health.ready() == reasons


@pytest.mark.parametrize(("unready", "reasons"), [("", []), ("joining", ["consumer: has not reported yet"])])
def test_a_source_that_is_ready_is_not_polled_first(loop: Loop, unready: str, reasons: list[str]) -> None:
    found: list[list[str]] = []

    class AskedMeanwhile(RecordingSource):
        def poll(self) -> list[Record | UnreadRange]:
            found.append(loop.health.ready())
            return super().poll()

    source = AskedMeanwhile(loop.calls, [record(1)])
    source.unready = unready
    loop.run(source, RecordingSink(loop.calls))
    assert found[0] == reasons


def test_it_is_ready_before_the_first_batch_is_judged(loop: Loop) -> None:
    found: list[list[str]] = []

    class AskedMeanwhile(SmallEngine):
        def evaluate(
            self, events: Sequence[Event], on_group: Callable[[], None] = lambda: None
        ) -> Iterator[Evaluation]:
            found.append(loop.health.ready())
            return super().evaluate(events, on_group)

    loop.engine = AskedMeanwhile()
    loop.run(RecordingSource(loop.calls, [record(1)]), RecordingSink(loop.calls))
    assert found == [[]]
