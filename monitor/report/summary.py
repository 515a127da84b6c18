"""Summary: what a run read and found, in figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from detectors.feature_set import SEVERITIES
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
class Outcome:
    """How the labelled events of one row came out."""

    name: str
    """The expected category, or the kind of benign event."""
    benign: bool
    events: int
    as_labelled: int
    """Risky: flagged in the expected category. Benign: not flagged at all."""
    flagged: int
    """Flagged in any category."""


@dataclass(frozen=True)
class Summary:
    """The figures of one run. None means that it is not known, as when all there is to read is a file of alerts."""

    alerts: int
    by_category: Mapping[str, Mapping[str, int]]
    """Alerts by category, then severity."""
    events: int | None = None
    bad_events: int | None = None
    tokens: int | None = None
    seconds: float | None = None
    """From the first event published to the last one committed."""
    lag: int | None = None
    """Events published and not committed."""
    outcomes: tuple[Outcome, ...] = field(default=())
    """Only where the events carry labels."""

    @property
    def events_per_second(self) -> float | None:
        """Events by wall-clock seconds."""
        return self.events / self.seconds if self.events is not None and self.seconds else None

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens by wall-clock seconds."""
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
    """The summary of `alerts` and of the run they come from. `labels` are by event id."""
    return Summary(
        alerts=len(alerts),
        by_category=count_by_category(alerts),
        events=events,
        bad_events=bad_events,
        tokens=tokens,
        seconds=seconds,
        lag=lag,
        outcomes=outcomes(labels or {}, alerts),
    )


def count_by_category(alerts: Iterable[Alert]) -> dict[str, dict[str, int]]:
    """Alerts by category (in alphabetical order), then severity (gravest first)."""
    counts = Counter((alert.set.category, alert.severity) for alert in alerts)
    return {
        category: {s: counts[category, s] for s in reversed(SEVERITIES) if counts[category, s]}
        for category in sorted({c for c, _ in counts})
    }


def outcomes(labels: Mapping[str, Label], alerts: Iterable[Alert]) -> tuple[Outcome, ...]:
    """One row for each risky category, then one for each kind of benign event."""
    flagged: dict[str, set[str]] = {}
    for alert in alerts:
        flagged.setdefault(alert.event.id, set()).add(alert.set.category)
    rows: dict[tuple[bool, str], list[set[str]]] = {}
    for event_id, label in labels.items():
        benign = label.expected == BENIGN
        row = (benign, label.kind if benign else label.expected)
        rows.setdefault(row, []).append(flagged.get(event_id, set()))
    return tuple(
        Outcome(
            name=name,
            benign=benign,
            events=len(found),
            as_labelled=sum(not categories if benign else name in categories for categories in found),
            flagged=sum(bool(categories) for categories in found),
        )
        for (benign, name), found in sorted(rows.items())
    )
