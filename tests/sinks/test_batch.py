"""Batch: every destination is tried, counted and served once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from monitor.config.sinks import OtelConfig
from monitor.errors import BadEvent, Permanent, Retryable
from monitor.events.event import Origin, Record
from monitor.sinks.batch import Batch
from monitor.sinks.status import SinkStatus
from monitor.telemetry.health import Health
from monitor.telemetry.telemetry import Telemetry
from tests.alert_factory import make_alert


class Target:
    """Raises what it is told to, one error for each call of `add` and `flush`; None is a success."""

    def __init__(self, name: str, add: tuple[Any, ...] = (), flush: tuple[Any, ...] = ()) -> None:
        self.name = name
        self._errors = {"add": list(add), "flush": list(flush)}
        self._pending: list[Any] = []
        self.got: list[Any] = []
        self.resets = 0

    def add(self, *item: Any) -> None:
        self._next("add")
        self._pending.append(item[0])

    def flush(self) -> None:
        self._next("flush")
        self.got += self._pending
        self._pending = []

    def reset(self) -> None:
        self.resets += 1
        self._pending = []

    def close(self) -> None: ...

    def _next(self, step: str) -> None:
        error = self._errors[step].pop(0) if self._errors[step] else None
        if error is not None:
            raise error


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    made = Telemetry(OtelConfig(), "0", {})
    yield made
    made.shutdown()


ALERTS = [make_alert("a"), make_alert("b")]
LETTER = (Record(b"{", Origin("t", 0, 1)), BadEvent("not JSON"))
FULL = Retryable("alerts.jsonl: not written: No space left on device", 1.5)
MISSING = Retryable("cannot send to topic t: it does not exist", 2.0, "topic_missing")


def failures(telemetry: Telemetry, sink: str) -> float | None:
    return telemetry.registry.get_sample_value("latentwatch_sink_failures_total", {"latentwatch_sink": sink})


def test_one_failing_sink_holds_back_no_other_and_only_it_is_tried_again(telemetry: Telemetry) -> None:
    health = Health(300, components=())
    full, fine, letters = Target("jsonl", flush=(FULL,)), Target("kafka"), Target("letters")
    batch = Batch([full, fine], letters, ALERTS, [LETTER], SinkStatus(telemetry, health))
    with pytest.raises(Retryable, match="No space left"):
        batch.deliver()
    assert (fine.got, letters.got, full.got) == (ALERTS, [LETTER[0]], [])
    assert health.ready() == ["sink jsonl: alerts.jsonl: not written: No space left on device"]
    batch.reset()
    batch.deliver()
    assert (fine.got, letters.got, full.got) == (ALERTS, [LETTER[0]], ALERTS)
    assert (fine.resets, letters.resets, full.resets) == (0, 0, 1)
    assert health.ready() == []
    delivered = telemetry.registry.get_sample_value("latentwatch_sink_alerts_total", {"latentwatch_sink": "kafka"})
    assert (failures(telemetry, "jsonl"), failures(telemetry, "kafka"), delivered) == (1, None, 2)


def test_a_sink_that_takes_no_alert_is_counted_and_named_and_the_others_get_theirs(telemetry: Telemetry) -> None:
    health = Health(300, components=())
    missing, fine = Target("kafka", add=(MISSING, None, MISSING)), Target("jsonl")
    batch = Batch([missing, fine], Target("letters"), ALERTS, [], SinkStatus(telemetry, health))
    for attempt in (1, 2):
        with pytest.raises(Retryable, match="does not exist"):
            batch.deliver()
        batch.reset()
        assert failures(telemetry, "kafka") == attempt
        assert health.ready() == ["sink kafka: cannot send to topic t: it does not exist"]
    assert fine.got == ALERTS
    batch.deliver()
    assert missing.got == ALERTS


def test_all_that_fails_is_told_at_once_and_the_longest_wait_counts(telemetry: Telemetry) -> None:
    health = Health(300, components=())
    letters, full = Target("letters", add=(MISSING,)), Target("jsonl", flush=(FULL,))
    batch = Batch([full], letters, ALERTS, [LETTER], SinkStatus(telemetry, health))
    with pytest.raises(Retryable, match=r"topic t: it does not exist; .*No space left") as caught:
        batch.deliver()
    assert (caught.value.retry_after_s, caught.value.kind) == (2.0, "topic_missing")
    assert (failures(telemetry, "dead_letter"), failures(telemetry, "jsonl")) == (1, 1)
    assert [reason.partition(":")[0] for reason in health.ready()] == ["sink dead_letter", "sink jsonl"]


def test_a_failure_for_good_is_counted_too(telemetry: Telemetry) -> None:
    health = Health(300, components=())
    target = Target("kafka", flush=(Permanent("not authorised"),))
    batch = Batch([target], Target("letters"), ALERTS, [], SinkStatus(telemetry, health))
    with pytest.raises(Permanent, match="not authorised"):
        batch.deliver()
    assert failures(telemetry, "kafka") == 1
    assert health.ready() == ["sink kafka: not authorised"]
