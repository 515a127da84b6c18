"""Pipeline: transactions that are taken back, and what is skipped in an overload."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from prometheus_client import generate_latest

from monitor.config.overload import OverloadConfig
from monitor.config.sinks import OtelConfig
from monitor.errors import Rewound
from monitor.events.event import EventLimits, Record
from monitor.events.position import Position
from monitor.events.unread_range import UnreadRange
from monitor.pipeline import Delivery, Pipeline
from monitor.sources.overload import OVERLOAD, Overload
from monitor.telemetry.health import Health
from monitor.telemetry.telemetry import Telemetry
from tests.test_pipeline import RecordingSink, RecordingSource, SmallEngine, record


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    made = Telemetry(OtelConfig(), "0", {})
    yield made
    made.shutdown()


class RewindingSource(RecordingSource):
    """Takes its batch back at the first commits, and hands it out again."""

    def __init__(self, calls: list[str], *batches: list[Record | UnreadRange], rewinds: int = 0) -> None:
        super().__init__(calls, *batches)
        self._rewinds = rewinds

    def commit(self) -> None:
        if self._rewinds:
            self._rewinds -= 1
            self._batches.insert(0, self.uncommitted)
            self.uncommitted = []
            raise Rewound("partitions moved")
        super().commit()


class LaggingSource(RecordingSource):
    """Says that many records wait."""

    def positions(self) -> Sequence[Position]:
        return [Position("t", 0, 0, 1_000), Position("t", 1, None, None)]


def pipeline(telemetry: Telemetry, source: Any, delivery: Delivery) -> Pipeline:
    return Pipeline(source, SmallEngine(), delivery, telemetry, Health(300), threading.Event())


def test_a_batch_that_was_taken_back_is_read_again_and_counted_once(telemetry: Telemetry) -> None:
    calls: list[str] = []
    sink, letters = RecordingSink(calls), RecordingSink(calls, "letters")
    source = RewindingSource(calls, [record(1, "alert")], [record(2, "alert")], rewinds=2)
    delivery = Delivery([sink], letters, EventLimits(), "auto", together=[sink, letters])
    totals = pipeline(telemetry, source, delivery).run()
    assert (totals.records, totals.alerts) == (2, 2)
    assert [alert.event.id for alert in sink.safe] == ["e1", "e1", "e1", "e2"]
    assert source.uncommitted == []


def test_if_one_of_a_transaction_fails_all_of_it_is_sent_again_and_nothing_else(telemetry: Telemetry) -> None:
    calls: list[str] = []
    kafka, other = RecordingSink(calls, "kafka"), RecordingSink(calls, "other")
    letters = RecordingSink(calls, "letters", errors=1)
    source = RecordingSource(calls, [record(1, "alert"), record(2, value=b"{}")])
    delivery = Delivery([other, kafka], letters, EventLimits(), "auto", together=[kafka, letters])
    pipeline(telemetry, source, delivery).run()
    assert len(other.safe) == 1
    assert len(kafka.safe) == 2
    assert calls.index("commit") > max(n for n, call in enumerate(calls) if call == "kafka.flush")
    assert calls.count("kafka.reset") == calls.count("letters.reset") == 1
    assert "other.reset" not in calls


class RecordingSkipped(RecordingSink):
    """Keeps the places, reasons and rates."""


def test_in_an_overload_a_share_is_read_and_the_places_of_the_rest_are_kept_before_the_commit(
    telemetry: Telemetry,
) -> None:
    calls: list[str] = []
    sink, letters, skipped = RecordingSink(calls), RecordingSink(calls, "letters"), RecordingSkipped(calls, "skipped")
    source = LaggingSource(calls, [record(n, "alert") for n in range(10)])
    overload = Overload(OverloadConfig(sampling=0.2, lag=999), lambda _: None)
    delivery = Delivery([sink], letters, EventLimits(), "auto", overload=overload, skipped=skipped)
    made = pipeline(telemetry, source, delivery)
    totals = made.run()
    assert (totals.records, totals.alerts, totals.sampled_out, totals.bad) == (10, 2, 8, 0)
    ((places, reason, sampling),) = skipped.safe
    read = {alert.event.id for alert in sink.safe}
    assert {f"e{place.offset}" for place in places} == {f"e{n}" for n in range(10)} - read
    assert (reason, sampling) == ("1000 records wait (overload.lag: 999)", 0.2)
    assert calls.index("skipped.flush") < calls.index("commit")
    assert f'latentwatch_events_sampled_out_total{{latentwatch_rule="{OVERLOAD}"}} 8.0' in metrics(telemetry)


def test_nothing_is_committed_while_the_places_cannot_be_kept(telemetry: Telemetry) -> None:
    calls: list[str] = []
    skipped = RecordingSkipped(calls, "skipped", errors=1)
    source = LaggingSource(calls, [record(n) for n in range(10)])
    overload = Overload(OverloadConfig(sampling=0.2, lag=1), lambda _: None)
    delivery = Delivery(
        [RecordingSink(calls)], RecordingSink(calls), EventLimits(), "auto", overload=overload, skipped=skipped
    )
    pipeline(telemetry, source, delivery).run()
    assert calls.count("skipped.flush") == 2
    assert calls[-1] == "commit"
    assert calls.count("commit") == 1


def metrics(telemetry: Telemetry) -> str:
    return generate_latest(telemetry.registry).decode()
