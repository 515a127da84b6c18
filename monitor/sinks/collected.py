"""CollectedAlerts and ToldRecords: destinations that deliver nothing, for commands that only look."""

from __future__ import annotations

from collections.abc import Callable

from monitor.alerts.alert import Alert
from monitor.errors import BadEvent
from monitor.events.event import Record


class CollectedAlerts:
    """A Sink that keeps alerts until they are taken."""

    name = "collected"

    def __init__(self) -> None:
        self._alerts: list[Alert] = []

    def take(self) -> list[Alert]:
        """All alerts since the last call."""
        taken, self._alerts = self._alerts, []
        return taken

    def add(self, alert: Alert) -> None:
        self._alerts.append(alert)

    def flush(self) -> None:
        pass  # they stay here

    def reset(self) -> None:
        self._alerts.clear()

    def close(self) -> None:
        pass  # nothing to free


class ToldRecords:
    """DeadLetters that go nowhere: `tell` hears of each record and of what is wrong with it."""

    def __init__(self, tell: Callable[[Record, BadEvent], None]) -> None:
        self._tell = tell

    def add(self, record: Record, error: BadEvent) -> None:
        self._tell(record, error)

    def flush(self) -> None:
        pass  # they stay where they are

    def reset(self) -> None:
        pass  # nothing is under way

    def close(self) -> None:
        pass  # nothing to free
