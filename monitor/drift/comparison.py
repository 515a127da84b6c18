"""Comparison: what changed between two sides of traffic, for each set and each of its features."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from monitor.drift.sketch import Sketch
from monitor.drift.snapshot import SetSnapshot
from monitor.drift.statistics import distance_p, false_discovery, rate_ratio, rates_p
from monitor.drift.window import Traffic

By = Literal["model", "tenant"]
QUANTILES = (0.5, 0.9, 0.99)


@dataclass(frozen=True)
class Subject:
    """What is compared: a set, or a feature of it, for the chosen groups."""

    set_id: str
    feature: int | None = None
    group: tuple[tuple[By, str | None], ...] = ()


@dataclass
class Side:
    """What one side has of a subject."""

    events: int = 0
    hits: int = 0
    values: Sketch = field(default_factory=Sketch)

    @property
    def rate(self) -> float | None:
        """The share of events with a hit; None without events."""
        return self.hits / self.events if self.events else None

    def to_json(self) -> dict[str, Any]:
        """Counts and quantiles."""
        quantiles = {f"{share:g}": self.values.quantile(share) for share in QUANTILES}
        return {"events": self.events, "hits": self.hits, "rate": self.rate, "quantiles": quantiles}


@dataclass(frozen=True)
class Row:
    """One subject on both sides."""

    subject: Subject
    label: str
    baseline: Side
    current: Side
    ratio: tuple[float, float, float] | None
    """The current rate over that of the baseline, with its 95 % interval; None if one of them is 0."""
    rate_p: float | None
    """None if there are too few events."""
    distance: float | None
    distance_p: float | None
    """None if there are too few values."""
    rate_q: float | None = None
    """The p-value adjusted for all tests of the comparison."""
    distance_q: float | None = None

    @property
    def too_few(self) -> bool:
        """Whether neither rates nor distributions could be tested."""
        return self.rate_p is None and self.distance_p is None

    def rate_changed(self, fdr: float) -> bool:
        """Whether the rate differs, at this rate of false discoveries."""
        return self.rate_q is not None and self.rate_q <= fdr

    def changed(self, fdr: float) -> bool:
        """Whether the rate or the distribution differs."""
        return self.rate_changed(fdr) or (self.distance_q is not None and self.distance_q <= fdr)

    @property
    def relative_change(self) -> float | None:
        """By which share of the baseline the rate changed; infinite if it was 0 before, None if it is unknown."""
        before, after = self.baseline.rate, self.current.rate
        if before is None or after is None:
            return None
        if before == 0:
            return math.inf if after else 0.0
        return after / before - 1

    @property
    def sure_effect(self) -> float:
        """The smallest change of the rate that the interval leaves, as a logarithm; for sorting."""
        if self.ratio is None:
            return math.inf if self.rate_p is not None else 0.0
        _, low, high = self.ratio
        return max(0.0, math.log(low), -math.log(high))

    def to_json(self, fdr: float) -> dict[str, Any]:
        """For `--json`; what is unknown is null."""
        ratio = None if self.ratio is None else {"value": self.ratio[0], "interval_95": list(self.ratio[1:])}
        return {
            "set": self.subject.set_id,
            "feature": self.subject.feature,
            "label": self.label,
            **{f"group_{name}": value for name, value in self.subject.group},
            "baseline": self.baseline.to_json(),
            "current": self.current.to_json(),
            "rate": {"ratio": ratio, "p": self.rate_p, "q": self.rate_q},
            "distribution": {"distance": self.distance, "p": self.distance_p, "q": self.distance_q},
            "changed": self.changed(fdr),
            "too_few": self.too_few,
        }


@dataclass(frozen=True)
class Comparison:
    """All rows, those that changed most certainly first, and what makes them hard to compare."""

    rows: tuple[Row, ...]
    warnings: tuple[str, ...]
    fdr: float

    @property
    def changed(self) -> list[Row]:
        """The rows that differ."""
        return [row for row in self.rows if row.changed(self.fdr)]

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        rows = [row.to_json(self.fdr) for row in self.rows]
        return {"fdr": self.fdr, "warnings": list(self.warnings), "rows": rows}


def compare(baseline: Traffic, current: Traffic, by: Sequence[By] = (), fdr: float = 0.05) -> Comparison:
    """Compares two sides, in groups of `by`; `fdr` is the accepted share of false discoveries among what changed."""
    sides = _summed(baseline.snapshots, by), _summed(current.snapshots, by)
    labels = {
        (snapshot.set_id, feature.index): feature.label
        for snapshot in (*baseline.snapshots, *current.snapshots)
        for feature in snapshot.features
    }
    rows = [_row(subject, labels, sides) for subject in dict.fromkeys((*sides[0], *sides[1]))]
    tested = [p for row in rows for p in (row.rate_p, row.distance_p) if p is not None]
    adjusted = iter(false_discovery(tested))
    rows = [
        replace(
            row,
            rate_q=None if row.rate_p is None else next(adjusted),
            distance_q=None if row.distance_p is None else next(adjusted),
        )
        for row in rows
    ]
    rows.sort(key=lambda row: (not row.changed(fdr), -row.sure_effect, -(row.distance or 0.0)))
    return Comparison(tuple(rows), tuple(_warnings(baseline, current)), fdr)


def _summed(snapshots: Iterable[SetSnapshot], by: Sequence[By]) -> dict[Subject, Side]:
    found: dict[Subject, Side] = {}
    events: dict[Subject, int] = {}
    for snapshot in snapshots:
        group = tuple((name, snapshot.model if name == "model" else snapshot.tenant) for name in by)
        of_set = Subject(snapshot.set_id, None, group)
        events[of_set] = events.get(of_set, 0) + snapshot.events
        side = found.setdefault(of_set, Side())
        side.hits += snapshot.fired
        side.values.merge(Sketch(snapshot.scores))
        for feature in snapshot.features:
            side = found.setdefault(replace(of_set, feature=feature.index), Side())
            side.hits += feature.active
            side.values.merge(Sketch(feature.strengths))
    for subject, side in found.items():
        side.events = events[replace(subject, feature=None)]
    return found


def _row(
    subject: Subject, labels: Mapping[tuple[str, int], str], sides: tuple[dict[Subject, Side], dict[Subject, Side]]
) -> Row:
    # a feature that was never active on one side has the events of its set there
    of_set = replace(subject, feature=None)
    before, after = (
        side[subject] if subject in side else Side(side[of_set].events if of_set in side else 0) for side in sides
    )
    hits, of = (before.hits, after.hits), (before.events, after.events)
    distance = before.values.distance(after.values)
    return Row(
        subject,
        "" if subject.feature is None else labels.get((subject.set_id, subject.feature), ""),
        before,
        after,
        rate_ratio(hits, of),
        rates_p(hits, of),
        distance,
        None if distance is None else distance_p(distance, (before.values.count, after.values.count)),
    )


def _warnings(baseline: Traffic, current: Traffic) -> Iterator[str]:
    for side in (baseline, current):
        if not side.snapshots:
            yield f"{side.name}: no snapshots"
        if side.cut:
            yield f"{side.name}: left out {side.cut} snapshots that lie only partly in it"
    versions: dict[str, set[str]] = {}
    thresholds: dict[str, set[float]] = {}
    for snapshot in (*baseline.snapshots, *current.snapshots):
        versions.setdefault(snapshot.set_id, set()).add(snapshot.set_sha256)
        thresholds.setdefault(snapshot.set_id, set()).add(snapshot.threshold)
    for set_id in sorted(versions):
        if len(versions[set_id]) > 1:
            yield f"{set_id}: the set's files changed meanwhile, so a difference may come from them"
        elif len(thresholds[set_id]) > 1:
            yield f"{set_id}: its threshold changed meanwhile, so its rate may differ because of that"
