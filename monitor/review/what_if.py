"""What if: which alerts a set would still give at another threshold, and how many of them were right."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, case, func, select

from monitor.review.precision import Precision
from monitor.review.tables import alert

DAYS = 30
"""Counted back from the newest alert of the set."""
_DAY_US = 24 * 3_600 * 1_000_000
_STEPS = 200
_DIGITS = 5


@dataclass(frozen=True)
class Slider:
    """Thresholds to choose from: those of one version of a set in the last `DAYS` days."""

    set_id: str
    version: str
    lowest: float
    """The lowest threshold at which alerts were made: nothing is known about scores below it."""
    highest: float
    step: float
    since_us: int
    days: float
    """That the alerts span; 1 at least."""


@dataclass(frozen=True)
class WhatIf:
    """What is known about one threshold."""

    threshold: float
    alerts: int
    a_day: float
    precision: Precision
    """Of the judged alerts that reach it."""
    lost_true: int
    """Judged true alerts that would be missing."""
    spared_false: int
    """Judged false alerts that would be missing."""


def slider(engine: Engine, set_id: str) -> Slider | None:
    """The slider of a set; None if it has no alerts."""
    with engine.connect() as connection:
        newest = connection.execute(
            select(alert.c.set_version, alert.c.time_us)
            .where(alert.c.set_id == set_id)
            .order_by(alert.c.time_us.desc(), alert.c.number.desc())
            .limit(1)
        ).first()
        if newest is None:
            return None
        since = newest.time_us - DAYS * _DAY_US
        row = connection.execute(
            select(
                func.min(alert.c.threshold).label("lowest"),
                func.max(alert.c.score).label("highest"),
                func.min(alert.c.time_us).label("first"),
            ).where(_of(set_id, newest.set_version, since))
        ).one()
    days = max(1.0, (newest.time_us - row.first) / _DAY_US)
    lowest, highest = _rounded(row.lowest), max(row.lowest, row.highest)
    step = _rounded((highest - lowest) / _STEPS) or 10.0**-_DIGITS
    return Slider(set_id, newest.set_version, lowest, highest, step, since, days)


def what_if(engine: Engine, found: Slider, threshold: float) -> WhatIf:
    """What the alerts of the slider's days say about a threshold."""

    def number(name: str, condition: Any) -> Any:
        return func.coalesce(func.sum(case((condition, 1), else_=0)), 0).label(name)

    reaches = alert.c.score >= threshold
    true, false = alert.c.verdict == "true_positive", alert.c.verdict == "false_positive"
    query = select(
        number("alerts", reaches),
        number("true", reaches & true),
        number("false", reaches & false),
        number("lost", ~reaches & true),
        number("spared", ~reaches & false),
    ).where(_of(found.set_id, found.version, found.since_us))
    with engine.connect() as connection:
        row = connection.execute(query).one()
    precision = Precision(row.true, row.false)
    return WhatIf(threshold, row.alerts, row.alerts / found.days, precision, row.lost, row.spared)


def asked_threshold(text: str, found: Slider) -> float:
    """The threshold in a URL query, or the lowest one; within the slider."""
    try:
        value = float(text)
    except ValueError:
        return found.lowest
    return _rounded(min(max(value, found.lowest), found.highest)) if math.isfinite(value) else found.lowest


def _of(set_id: str, version: str, since_us: int) -> Any:
    return (alert.c.set_id == set_id) & (alert.c.set_version == version) & (alert.c.time_us >= since_us)


def _rounded(value: float) -> float:
    """Five significant digits, rounded down in the last, so that a score that has them still reaches it."""
    if value == 0 or not math.isfinite(value):
        return value
    scale = 10.0 ** (_DIGITS - 1 - math.floor(math.log10(abs(value))))
    return math.floor(value * scale + 1e-9) / scale
