"""Sink: the promises that every destination of alerts keeps; and the same for bad records."""

from __future__ import annotations

from typing import Protocol

from monitor.alerts.alert import Alert
from monitor.errors import BadEvent
from monitor.events.event import Record


class Sink(Protocol):
    """Takes alerts and, on `flush`, makes them safe at their destination.

    After a flush that raised, the pipeline waits, calls `reset` and adds the same alerts again; a destination may
    therefore see an alert twice, always under the same id.
    """

    @property
    def name(self) -> str:
        """For metrics and messages."""

    def add(self, alert: Alert) -> None:
        """Takes one alert. May buffer, must not block for long. Raises Retryable or Permanent."""

    def flush(self) -> None:
        """Returns when every alert added so far is safe. Raises Retryable or Permanent where it is not."""

    def reset(self) -> None:
        """Forgets alerts that are not safe yet and rebuilds connections that may be broken."""

    def close(self) -> None:
        """Frees everything. Does not flush."""


class DeadLetters(Protocol):
    """Takes records that are not events; flush and reset as for a Sink."""

    def add(self, record: Record, error: BadEvent) -> None:
        """Takes one record with the reason why it was refused."""

    def flush(self) -> None:
        """Returns when every record added so far is safe. Raises Retryable or Permanent where it is not."""

    def reset(self) -> None:
        """Forgets records that are not safe yet and rebuilds connections that may be broken."""

    def close(self) -> None:
        """Frees everything. Does not flush."""
