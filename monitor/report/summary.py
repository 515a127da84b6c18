"""Summary: what a run read and found, in figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from detectors.feature_set import SEVERITIES, Severity
from monitor.alerts.alert import Alert

BENIGN = "none"
"""The label of an event in which no category is expected."""


@dataclass(frozen=True)
class Label:
    """What an event was written to be."""

    expected: str
    """A category, or BENIGN."""
    kind: str
    """Which sort of event, such as everyday or look_alike."""


@dataclass(frozen=True)
class CategoryResult:
    """How one category did on the labelled events. All figures count events."""

    category: str
    written: int
    """Events written as this category."""
    found: int
    """Those of them that were flagged as this category."""
    other_risky: int
    """Events written as another category and flagged as this one."""
    false_alarms: int
    """Benign events flagged as this category."""

    @property
    def missed(self) -> int:
        """Events written as this category and not flagged as it."""
        return self.written - self.found


@dataclass(frozen=True)
class BenignResult:
    """How many benign events of one kind were flagged, in any category."""

    kind: str
    events: int
    flagged: int


@dataclass(frozen=True)
class Summary:
    """The figures of one run. None means not known, as when there is only a file of alerts to read."""

    alerts: int
    flagged_events: int
    """Events with at least one alert."""
    by_category: Mapping[str, Mapping[Severity, int]]
    """Alerts by category, then severity."""
    events: int | None = None
    bad_events: int | None = None
    tokens: int | None = None
    seconds: float | None = None
    """From the first event published to the last one committed."""
    lag: int | None = None
    """Events published and not committed."""
    categories: tuple[CategoryResult, ...] = ()
    """Empty if the events carry no labels."""
    benign: tuple[BenignResult, ...] = ()
    """Empty if the events carry no labels."""

    @property
    def by_severity(self) -> dict[Severity, int]:
        """Alerts by severity, most severe first; only severities that occur."""
        counts = Counter[Severity]()
        for row in self.by_category.values():
            counts.update(row)
        return {severity: counts[severity] for severity in reversed(SEVERITIES) if counts[severity]}

    @property
    def events_per_second(self) -> float | None:
        """Events per second of wall-clock time."""
        return self.events / self.seconds if self.events is not None and self.seconds else None

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens per second of wall-clock time."""
        return self.tokens / self.seconds if self.tokens is not None and self.seconds else None


def summarize(
    alerts: Sequence[Alert],
    *,
    events: int | None = None,
    bad_events: int | None = None,
    tokens: int | None = None,
    seconds: float | None = None,
    lag: int | None = None,
    labels: Mapping[str, Label] | None = None,
) -> Summary:
    """The summary of `alerts` and of the run that they come from. `labels` are by event id."""
    flagged = categories_by_event(alerts)
    by_category = count_by_category(alerts)
    return Summary(
        alerts=len(alerts),
        flagged_events=len(flagged),
        by_category=by_category,
        events=events,
        bad_events=bad_events,
        tokens=tokens,
        seconds=seconds,
        lag=lag,
        categories=category_results(labels or {}, flagged, tuple(by_category)),
        benign=benign_results(labels or {}, flagged),
    )


def categories_by_event(alerts: Iterable[Alert]) -> dict[str, set[str]]:
    """The categories in which each event was flagged, by event id."""
    flagged: dict[str, set[str]] = {}
    for alert in alerts:
        flagged.setdefault(alert.event.id, set()).add(alert.set.category)
    return flagged


def count_by_category(alerts: Iterable[Alert]) -> dict[str, dict[Severity, int]]:
    """Alerts by category, then severity, each most severe first; categories of one severity by number of alerts."""
    counts: dict[str, Counter[Severity]] = {}
    for alert in alerts:
        counts.setdefault(alert.set.category, Counter())[alert.severity] += 1
    most_severe_first = sorted(counts, key=lambda c: ([-counts[c][s] for s in reversed(SEVERITIES)], c))
    return {c: {s: counts[c][s] for s in reversed(SEVERITIES) if counts[c][s]} for c in most_severe_first}


def category_results(
    labels: Mapping[str, Label], flagged: Mapping[str, set[str]], order: Sequence[str] = ()
) -> tuple[CategoryResult, ...]:
    """One row for each category that a labelled event was written as or flagged as, those in `order` first."""
    names = {label.expected for label in labels.values()} - {BENIGN}
    for event_id in labels:
        names |= flagged.get(event_id, set())
    rows = []
    for name in [*(n for n in order if n in names), *sorted(names - set(order))]:
        expected = Counter(label.expected for e, label in labels.items() if name in flagged.get(e, ()))
        rows.append(
            CategoryResult(
                category=name,
                written=sum(label.expected == name for label in labels.values()),
                found=expected[name],
                other_risky=expected.total() - expected[name] - expected[BENIGN],
                false_alarms=expected[BENIGN],
            )
        )
    return tuple(rows)


def benign_results(labels: Mapping[str, Label], flagged: Mapping[str, set[str]]) -> tuple[BenignResult, ...]:
    """One row for each kind of benign event, in alphabetical order."""
    kinds: dict[str, list[bool]] = {}
    for event_id, label in labels.items():
        if label.expected == BENIGN:
            kinds.setdefault(label.kind, []).append(event_id in flagged)
    return tuple(BenignResult(kind, len(found), sum(found)) for kind, found in sorted(kinds.items()))


def counted(count: int, noun: str) -> str:
    """`1 alert`, `2 alerts`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
