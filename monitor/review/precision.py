"""Precision: how many judged alerts of a set were right, over time, and how far reviewers agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, case, func, select

from monitor.review.tables import alert, verdict

_DAY_US = 24 * 3_600 * 1_000_000
_WEEK_US = 7 * _DAY_US
_MONDAY_US = 4 * _DAY_US
"""1970 began on a Thursday."""
_Z95 = 1.959963984540054


@dataclass(frozen=True)
class Precision:
    """Judged alerts, and the share of true ones with a 95 % interval."""

    true: int
    false: int

    @property
    def judged(self) -> int:
        """Alerts that reviewers are sure and of one mind about."""
        return self.true + self.false

    @property
    def share(self) -> float | None:
        """None if nothing was judged."""
        return self.true / self.judged if self.judged else None

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval; (0, 1) if nothing was judged."""
        return wilson(self.true, self.judged)


@dataclass(frozen=True)
class SetRow:
    """What was judged of one set."""

    id: str
    category: str
    alerts: int
    precision: Precision
    unsure: int
    disputed: int


@dataclass(frozen=True)
class Week:
    """The alerts of one week, which begins on `monday`."""

    monday: datetime
    alerts: int
    precision: Precision


@dataclass(frozen=True)
class Agreement:
    """Two reviewers and the alerts on which both were sure."""

    reviewers: tuple[str, str]
    both: int
    same: int
    kappa: float | None
    """Cohen's kappa; None if chance alone would make them agree always."""


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """95 % interval of a rate. Source: Wilson 1927, equation for p in section 4, z = 1.96."""
    if not trials:
        return 0.0, 1.0
    rate, z2 = successes / trials, _Z95**2
    middle = (rate + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _Z95 * math.sqrt(rate * (1 - rate) / trials + z2 / (4 * trials**2)) / (1 + z2 / trials)
    return max(0.0, middle - half), min(1.0, middle + half)


def by_set(engine: Engine) -> tuple[SetRow, ...]:
    """Every set that has alerts."""
    counts = [_having(v) for v in ("true_positive", "false_positive", "unsure", "disputed")]
    query = select(alert.c.set_id, func.max(alert.c.category).label("category"), func.count().label("alerts"), *counts)
    with engine.connect() as connection:
        rows = connection.execute(query.group_by(alert.c.set_id).order_by(alert.c.set_id))
        return tuple(
            SetRow(r.set_id, r.category, r.alerts, Precision(r.true_positive, r.false_positive), r.unsure, r.disputed)
            for r in rows
        )


def by_week(engine: Engine, set_id: str, most: int = 26) -> tuple[Week, ...]:
    """The last weeks with alerts of a set, the newest first."""
    # whole numbers on both databases: a remainder is subtracted instead of dividing
    week = (alert.c.time_us - (alert.c.time_us - _MONDAY_US) % _WEEK_US).label("week")
    query = select(week, func.count().label("alerts"), _having("true_positive"), _having("false_positive"))
    query = query.where(alert.c.set_id == set_id).group_by(week).order_by(week.desc()).limit(most)
    with engine.connect() as connection:
        return tuple(
            Week(moment(r.week), r.alerts, Precision(r.true_positive, r.false_positive))
            for r in connection.execute(query)
        )


def agreement(engine: Engine) -> tuple[Agreement, ...]:
    """Every two reviewers who were both sure about some alert."""
    one, other = verdict.alias("one"), verdict.alias("other")
    query = (
        select(one.c.reviewer, other.c.reviewer, one.c.verdict, other.c.verdict, func.count())
        .join(other, (one.c.number == other.c.number) & (one.c.reviewer < other.c.reviewer))
        .where(one.c.verdict != "unsure", other.c.verdict != "unsure")
        .group_by(one.c.reviewer, other.c.reviewer, one.c.verdict, other.c.verdict)
    )
    pairs: dict[tuple[str, str], dict[tuple[bool, bool], int]] = {}
    with engine.connect() as connection:
        for first, second, a, b, count in connection.execute(query):
            table = pairs.setdefault((first, second), {})
            table[a == "true_positive", b == "true_positive"] = count
    return tuple(_agreement(names, table) for names, table in sorted(pairs.items()))


def moment(time_us: int) -> datetime:
    """A stored time; those that Python cannot hold become its first or last one."""
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)
    except OverflowError:
        return (datetime.max if time_us > 0 else datetime.min).replace(tzinfo=UTC)


def _agreement(names: tuple[str, str], table: dict[tuple[bool, bool], int]) -> Agreement:
    def count(*cells: tuple[bool, bool]) -> int:
        return sum(table.get(cell, 0) for cell in cells)

    both = count(*_CELLS)
    same = count((True, True), (False, False))
    first, second = count((True, True), (True, False)), count((True, True), (False, True))
    chance = (first * second + (both - first) * (both - second)) / both**2
    kappa = None if chance == 1 else (same / both - chance) / (1 - chance)
    return Agreement(names, both, same, kappa)


_CELLS: Sequence[tuple[bool, bool]] = ((True, True), (True, False), (False, True), (False, False))


def _having(standing: str) -> Any:
    return func.coalesce(func.sum(case((alert.c.verdict == standing, 1), else_=0)), 0).label(standing)
