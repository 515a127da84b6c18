"""FlaggedEvent: one event with every alert about it, most severe first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from detectors.feature_set import SEVERITIES, Severity
from monitor.alerts.alert import Alert
from monitor.report.score import ratio


@dataclass(frozen=True)
class FlaggedEvent:
    """The alerts of one event. Several sets often fire on the same text; a reviewer reads that text once."""

    alerts: tuple[Alert, ...]
    """Never empty; most severe first."""

    @property
    def id(self) -> str:
        """The event's id."""
        return self.most_severe.event.id

    @property
    def most_severe(self) -> Alert:
        """The alert with the highest severity; among equals, the one furthest above its threshold."""
        return self.alerts[0]

    @property
    def severity(self) -> Severity:
        """The severity of the most severe alert."""
        return self.most_severe.severity

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories of the alerts, most severe first, each once."""
        return tuple(dict.fromkeys(alert.set.category for alert in self.alerts))


def flagged_events(alerts: Iterable[Alert]) -> tuple[FlaggedEvent, ...]:
    """Groups alerts by event id, most severe event first."""
    by_event: dict[str, list[Alert]] = {}
    for alert in sorted(alerts, key=_most_severe_first):
        by_event.setdefault(alert.event.id, []).append(alert)
    return tuple(FlaggedEvent(tuple(group)) for group in by_event.values())


def most_severe_of_each_category(events: Iterable[FlaggedEvent], count: int) -> tuple[FlaggedEvent, ...]:
    """At most `count` events, most severe first. Events of categories not seen yet come before more of the same."""
    first: list[FlaggedEvent] = []
    more: list[FlaggedEvent] = []
    seen: set[str] = set()
    for event in events:
        category = event.most_severe.set.category
        (more if category in seen else first).append(event)
        seen.add(category)
    return tuple([*first, *more][:count])


def _most_severe_first(alert: Alert) -> tuple[int, float, str]:
    return -SEVERITIES.index(alert.severity), -ratio(alert), alert.id
