"""Batch: what one round of the loop delivers, and which destinations have it already."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from monitor.alerts.alert import Alert
from monitor.errors import BadEvent, Permanent, Retryable
from monitor.events.event import Origin, Record
from monitor.sinks.optional import OptionalSink
from monitor.sinks.sink import DeadLetters, Sink, Skipped
from monitor.sinks.status import SinkStatus
from monitor.telemetry.zero_series import DEAD_LETTERS


@dataclass(frozen=True)
class _Destination:
    """One destination and its share of the batch."""

    name: str
    target: Sink | DeadLetters | Skipped
    add: Callable[[], None]
    items: int


class Batch:
    """Alerts and bad records on their way to all destinations.

    Every destination is tried, whatever the others do, and one that has its share never gets it a second time, unless
    a transaction took it back.
    """

    def __init__(
        self,
        sinks: Sequence[Sink],
        dead_letters: DeadLetters,
        alerts: Sequence[Alert],
        letters: Sequence[tuple[Record, BadEvent]],
        status: SinkStatus,
        together: Sequence[Sink | DeadLetters | Skipped] = (),
    ) -> None:
        """`together` are destinations of one transaction: if one of them fails, all of them need their share again."""
        self._status = status
        self._together = together
        self._waiting: list[_Destination] = []
        self._undone: list[_Destination] = []  # of one transaction, and delivered if it is committed
        if letters:
            add = _adding_letters(dead_letters, letters)
            self._waiting.append(_Destination(DEAD_LETTERS, dead_letters, add, len(letters)))
        for sink in sinks:
            self._waiting.append(_Destination(sink.name, sink, _adding(sink, alerts), len(alerts)))

    def skip(self, skipped: Skipped, origins: Sequence[Origin], reason: str, sampling: float) -> None:
        """Puts on record which records were not read."""
        self._waiting.insert(
            0, _Destination("skipped", skipped, lambda: skipped.add(origins, reason, sampling), len(origins))
        )

    def deliver(self) -> None:
        """Returns when every destination has its share. Raises Retryable with all that failed, or Permanent."""
        failures: list[Retryable] = []
        # all are added before the first flush, so that they are under way at the same time
        added = [d for d in self._waiting if self._succeeds(d, d.add, failures)]
        for destination in added:
            started = time.perf_counter()
            if not self._succeeds(destination, destination.target.flush, failures):
                continue
            self._waiting.remove(destination)
            if destination.target in self._together:
                self._undone.append(destination)
            if not isinstance(destination.target, OptionalSink):  # which delivers later, and reports then
                self._status.delivered(destination.name, destination.items, time.perf_counter() - started)
        if any(destination.target in self._together for destination in self._waiting):
            self._waiting += self._undone
            self._undone.clear()
        if failures:
            reasons = "; ".join(str(failure) for failure in failures)
            raise Retryable(reasons, max(failure.retry_after_s for failure in failures), failures[0].kind)

    def reset(self) -> None:
        """Makes ready to deliver again to the destinations that failed. Raises Retryable."""
        failures: list[Retryable] = []
        for destination in self._waiting:  # all of them, or one would have its share twice
            self._succeeds(destination, destination.target.reset, failures)
        if failures:
            raise failures[0]

    def _succeeds(self, destination: _Destination, step: Callable[[], None], failures: list[Retryable]) -> bool:
        started = time.perf_counter()
        try:
            step()
        except (Retryable, Permanent) as e:
            self._status.failed(destination.name, e, destination.items, time.perf_counter() - started)
            if isinstance(e, Permanent):
                raise
            failures.append(e)
            return False
        return True


def _adding(sink: Sink, alerts: Sequence[Alert]) -> Callable[[], None]:
    def add() -> None:
        for alert in alerts:
            sink.add(alert)

    return add


def _adding_letters(dead_letters: DeadLetters, letters: Sequence[tuple[Record, BadEvent]]) -> Callable[[], None]:
    def add() -> None:
        for record, error in letters:
            dead_letters.add(record, error)

    return add
