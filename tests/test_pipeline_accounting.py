"""Pipeline: every record that is consumed is judged, dead-lettered, both, or holds nothing to judge."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.config.sinks import OtelConfig
from monitor.errors import BadEvent, Retryable
from monitor.events.envelopes.confluent import Decoder
from monitor.events.event import EventLimits, Origin, Record
from monitor.events.unread_range import UnreadRange
from monitor.pipeline import Delivery, Pipeline, Totals
from monitor.telemetry.health import Health
from monitor.telemetry.names import RecordOutcome
from monitor.telemetry.telemetry import Telemetry
from tests.events.samples import attribute, envelope, span
from tests.test_pipeline import RecordingSink, RecordingSource, SmallEngine, ids

KIND = "org.kubeflow.serving.inference"
ALERT = {"id": "e", "response": "alert"}
BAD = {"id": "bad", "response": 5, "prompt": 5}
NOISE = span(attribute("http.method", "GET"))


def chunk(text: str) -> dict[str, Any]:
    return {"id": "s", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": text}}]}


def half(kind: str, data: Any) -> dict[str, Any]:
    return envelope(data, id="call", type=f"{KIND}.{kind}")


def records(*bodies: Any) -> list[Record]:
    return [
        Record(body if isinstance(body, bytes) else json.dumps(body).encode(), Origin("t", 0, n))
        for n, body in enumerate(bodies)
    ]


class SmallRegistry:
    """Knows schema 7, by which a payload is the response; is down as often as told."""

    def __init__(self, down: int = 0, stop: threading.Event | None = None) -> None:
        self._down = down
        self._stop = stop
        self.asked: list[set[int]] = []

    def decoders(self, ids: Collection[int]) -> Mapping[int, Decoder]:
        self.asked.append(set(ids))
        if self._stop is not None:
            self._stop.set()
        if self._down:
            self._down -= 1
            raise Retryable("the registry is down", 0)
        return {schema_id: self._decode if schema_id == 7 else self._refuse for schema_id in ids}

    def _decode(self, payload: bytes, _: Counter[str]) -> Any:
        return {"id": "avro", "response": payload.decode()}

    def _refuse(self, _: bytes, __: Counter[str]) -> Any:
        raise BadEvent("no such schema", kind="encoding")


class Run:
    """One run of a pipeline over one poll, with what came of it."""

    def __init__(self, polled: list[Record | UnreadRange], schemas: SmallRegistry | None = None) -> None:
        self.calls: list[str] = []
        self.sink = RecordingSink(self.calls)
        self.letters = RecordingSink(self.calls, "letters")
        self.stop = threading.Event()
        self._polled = polled
        self._schemas = schemas

    def __enter__(self) -> Run:
        self.telemetry = Telemetry(OtelConfig(), "0", {})
        delivery = Delivery([self.sink], self.letters, EventLimits(), "auto", self._schemas)
        source = RecordingSource(self.calls, self._polled)
        stop = self.stop if self._schemas is None or self._schemas._stop is None else self._schemas._stop
        self.totals: Totals = Pipeline(source, SmallEngine(), delivery, self.telemetry, Health(300), stop).run()  # type: ignore[arg-type]
        return self

    def __exit__(self, *_: object) -> None:
        self.telemetry.shutdown()

    @property
    def outcomes(self) -> dict[str, int]:
        """Records by outcome, without those that no record has."""
        found = {
            kind: self.telemetry.registry.get_sample_value(
                "latentwatch_records_total", {"latentwatch_record_outcome": kind}
            )
            for kind in get_args(RecordOutcome)
        }
        return {kind: int(count) for kind, count in found.items() if count}

    @property
    def reasons(self) -> dict[int, str]:
        """Why records were dead-lettered, by offset."""
        return {record.origin.offset: error.reason for record, error in self.letters.safe}


def test_a_record_that_is_partly_bad_is_judged_and_dead_lettered() -> None:
    with Run([*records([ALERT, BAD, {"id": "f", "response": "fine"}])]) as run:
        assert ids(run.sink.safe) == ["e"]
        assert run.totals == Totals(records=1, events=2, bad=1, partly=1, alerts=1, tokens=6)
        assert run.outcomes == {"partly_judged": 1}
        assert run.reasons[0].endswith("(the record's other events were judged)")
        assert run.calls.index("letters.flush") < run.calls.index("commit")


def test_replaying_what_was_partly_bad_makes_the_same_alerts() -> None:
    with Run([*records([ALERT, BAD])]) as first, Run([record for record, _ in first.letters.safe]) as again:
        assert [alert.id for alert in first.sink.safe] == [alert.id for alert in again.sink.safe]


def test_what_the_reader_fails_on_is_a_fault_next_to_others() -> None:
    with Run([*records([ALERT, BAD, {"id": "f", "response": "boom"}], [{"id": "g", "response": "boom"}])]) as run:
        assert run.outcomes == {"partly_judged": 1, "dead_lettered": 1}
        assert "2 faults" in run.reasons[0]
        assert "RuntimeError: the reader broke" in run.reasons[0]
        assert run.reasons[1] == "RuntimeError: the reader broke"


def test_spans_of_other_services_are_nothing_to_judge() -> None:
    with Run([*records(NOISE, ALERT)]) as run:
        assert run.outcomes == {"nothing_to_judge": 1, "judged": 1}
        assert (run.totals.empty, run.totals.bad, run.letters.safe) == (1, 0, [])


def test_every_record_of_a_joined_event_counts_as_judged() -> None:
    asked = half("request", {"messages": [{"role": "user", "content": "Hi"}]})
    with Run([*records(chunk("al"), asked, chunk("ert"), half("response", ALERT))]) as run:
        assert ids(run.sink.safe) == ["s", "call"]
        assert run.outcomes == {"judged": 4}
        assert (run.totals.records, run.totals.events) == (4, 2)


def test_every_record_of_a_joined_event_is_dead_lettered_if_the_reader_fails() -> None:
    with Run([*records(chunk("bo"), ALERT, chunk("om"))]) as run:
        assert run.outcomes == {"judged": 1, "dead_lettered": 2}
        assert sorted(run.reasons) == [0, 2]


# ---- the schema registry


def framed(text: bytes, schema_id: int = 7) -> bytes:
    return b"\0" + schema_id.to_bytes(4) + text


def test_framed_records_are_decoded_by_their_schemas() -> None:
    registry = SmallRegistry()
    with Run(
        [*records(framed(b"alert"), ALERT, framed(b"x", 9), framed(b'{"id":"j","response":"x"}', 5))], registry
    ) as run:
        assert ids(run.sink.safe) == ["avro", "e"]
        assert run.reasons == {2: "no such schema"}
        assert registry.asked == [{7, 9}]


def test_no_registry_is_asked_if_nothing_is_framed() -> None:
    registry = SmallRegistry()
    with Run([*records(ALERT)], registry):
        assert registry.asked == []


def test_a_registry_that_is_down_is_waited_for() -> None:
    registry = SmallRegistry(down=2)
    with Run([*records(framed(b"alert"))], registry) as run:
        assert ids(run.sink.safe) == ["avro"]
        assert len(registry.asked) == 3


def test_a_stop_while_the_registry_is_down_commits_nothing() -> None:
    with Run([*records(framed(b"alert"))], SmallRegistry(down=9, stop=threading.Event())) as run:
        assert "commit" not in run.calls
        assert run.totals.records == 0


# ---- whatever comes


GAP = UnreadRange("t", 0, 500, 504, "corrupt", "damaged")
BODIES: list[Any] = [
    ALERT,
    BAD,
    [ALERT, BAD],
    [BAD, BAD],
    NOISE,
    {"batch": [{"type": "score-create", "body": {}}]},
    {"batch": [{"type": "span-create", "body": {"input": "Hi"}}, 5]},
    chunk("al"),
    chunk("ert"),
    chunk(""),
    {"id": "x", "response": "boom"},
    {"id": "y", "response": "long"},
    b"no json",
    b"",
    half("request", {"prompt": "Hi"}),
    half("response", ALERT),
    half("response", {"id": "boom", "response": "boom"}),
    framed(b"alert"),
    framed(b"x", 9),
    5,
]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(BODIES), max_size=9), st.booleans())
def test_consumed_is_judged_and_dead_lettered_and_unread(bodies: list[Any], gap: bool) -> None:
    polled: list[Record | UnreadRange] = [*records(*bodies), *([GAP] if gap else [])]
    with Run(polled, SmallRegistry()) as run:
        totals, outcomes = run.totals, run.outcomes
        consumed = len(bodies) + (GAP.offsets if gap else 0)
        assert sum(outcomes.values()) + totals.unread == consumed
        assert totals.records == len(bodies)
        letters = Counter(outcomes)["dead_lettered"] + Counter(outcomes)["partly_judged"]
        assert totals.bad == letters == len(run.letters.safe) - gap
        assert totals.partly == Counter(outcomes)["partly_judged"]
        assert totals.empty == Counter(outcomes)["nothing_to_judge"]
        judged = len(bodies) - totals.bad - totals.empty
        assert judged == Counter(outcomes)["judged"]
        assert consumed == judged + totals.empty + totals.bad + totals.unread


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.pipeline._LONGEST_PAUSE_S", 0.0)
