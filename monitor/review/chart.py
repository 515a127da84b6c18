"""Chart: how many alerts there were over time, as bars for an inline SVG."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, case, func, select, true

from detectors.feature_set import SEVERITIES
from monitor.review.filters import Filters
from monitor.review.precision import moment
from monitor.review.tables import alert

BARS = 40
HEIGHT = 100
_MINUTE_US = 60_000_000
_WIDTHS = [_MINUTE_US * minutes for minutes in (1, 5, 15, 60, 180, 360, 720, 1440, 10_080, 43_200)]


@dataclass(frozen=True)
class Part:
    """The alerts of one severity in a bar; `y` and `height` are of HEIGHT, from the top."""

    severity: str
    y: float
    height: float


@dataclass(frozen=True)
class Bar:
    """The alerts from `since` until `until`."""

    since: datetime
    until: datetime
    alerts: int
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Chart:
    """Bars of equal length in time, the oldest first."""

    bars: tuple[Bar, ...]
    highest: int


def chart(engine: Engine, filters: Filters) -> Chart | None:
    """The alerts that fit, over the whole time that they span; None if there are none."""
    with engine.connect() as connection:
        # once, because on a text search this takes nearly all of the time
        found = select(alert.c.time_us, alert.c.severity).where(*filters.conditions(connection.dialect.name)).cte()
        span = select((func.max(found.c.time_us) - func.min(found.c.time_us)).label("us")).cte()
        wide = case(*((span.c.us < w * (BARS - 1), w) for w in _WIDTHS), else_=span.c.us // (BARS - 1) + 1)
        width = select(wide.label("us")).cte()
        # whole numbers on both databases: a remainder is subtracted instead of dividing
        start = (found.c.time_us - found.c.time_us % width.c.us).label("start")
        query = select(start, found.c.severity, func.count().label("alerts"), width.c.us).join_from(
            found, width, true()
        )
        rows = connection.execute(query.group_by(start, found.c.severity, width.c.us)).all()
    if not rows:
        return None
    counts: dict[int, dict[str, int]] = {}
    for row in rows:
        counts.setdefault(row.start, {})[row.severity] = row.alerts
    totals = {begins: sum(found.values()) for begins, found in counts.items()}
    highest = max(totals.values())
    begin, bar_us = min(counts), rows[0].us
    bars = [_bar(begins, bar_us, counts.get(begins, {}), highest) for begins in range(begin, max(counts) + 1, bar_us)]
    return Chart(tuple(bars), highest)


def _bar(begins: int, width: int, counts: dict[str, int], highest: int) -> Bar:
    parts, top = [], float(HEIGHT)
    for severity in reversed(SEVERITIES):
        if found := counts.get(severity, 0):
            height = HEIGHT * found / highest
            top -= height
            parts.append(Part(severity, round(top, 2), round(height, 2)))
    return Bar(moment(begins), moment(begins + width), sum(counts.values()), tuple(parts))
