"""Listing: pages of alerts or of groups of similar alerts, and what can be filtered by."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, and_, func, literal, or_, select
from sqlalchemy.engine import Connection, Row

from detectors.feature_set import SEVERITIES
from monitor.review.filters import BadQuery, Filters
from monitor.review.tables import alert, alert_body, alert_feature

PAGE_ROWS = 50
_MAX_CHOICES = 200
_NEWEST = 300
"""Alerts among which the groups of a page are looked for first."""
Place = tuple[int, int] | None
"""Time and key of the last line of the page before."""
_AFTER = re.compile(r"(-?\d{1,18})_(\d{1,18})")


@dataclass(frozen=True)
class Peek:
    """A piece of the text around its strongest token; empty without a text."""

    before: str = ""
    strongest: str = ""
    after: str = ""


@dataclass(frozen=True)
class Line:
    """One line of the list: the alert of its group that was stored last, or one alert."""

    alert: Row[Any]
    """A row of `alert`."""
    alerts: int
    """In the group, as far as they fit the filters."""
    first_us: int
    features: tuple[str, ...]
    """Labels of the strongest."""
    peek: Peek


@dataclass(frozen=True)
class Page:
    """One page of the list, newest first."""

    lines: tuple[Line, ...]
    after: str
    """Where the next page begins; empty on the last one."""


@dataclass(frozen=True)
class Choices:
    """Values to filter by, the most frequent first."""

    category: tuple[str, ...]
    severity: tuple[str, ...]
    set: tuple[str, ...]
    model: tuple[str, ...]
    tenant: tuple[str, ...]


def page(engine: Engine, filters: Filters, after: str = "", rows: int = PAGE_ROWS) -> Page:
    """The page that begins after `after`. Similar alerts are one line unless the filters name a group.

    Raises BadQuery if `after` is not from a page.
    """
    place = _place(after)
    with engine.connect() as connection:
        dialect = connection.dialect.name
        conditions = filters.conditions(dialect)
        if filters.group:
            found = _alerts(connection, conditions, place, rows + 1)
        else:
            near = _newest_groups(connection, conditions, place, rows + 1)
            found = _groups(connection, conditions, place, rows + 1) if near is None else near
        shown = found[:rows]
        numbers = [row.lead for row in shown]
        alerts = {row.number: row for row in connection.execute(select(alert).where(alert.c.number.in_(numbers)))}
        labels = _labels(connection, numbers)
        peeks = _peeks(connection, numbers)
    lines = tuple(
        Line(alerts[row.lead], row.alerts, row.first, labels.get(row.lead, ()), peeks.get(row.lead, Peek()))
        for row in shown
        if row.lead in alerts  # it may have been deleted in between
    )
    return Page(lines, f"{shown[-1].last}_{shown[-1][0]}" if len(found) > rows else "")


def count(engine: Engine, filters: Filters) -> int:
    """How many alerts fit."""
    with engine.connect() as connection:
        query = select(func.count()).select_from(alert).where(*filters.conditions(connection.dialect.name))
        return int(connection.scalar(query) or 0)


def choices(engine: Engine) -> Choices:
    """What there is to filter by."""
    columns = (alert.c.category, alert.c.severity, alert.c.set_id, alert.c.model, alert.c.tenant)
    with engine.connect() as connection:
        rows = list(connection.execute(select(*columns, func.count()).group_by(*columns)))
    found = []
    for n in range(len(columns)):
        counts: dict[str, int] = {}
        for row in rows:
            if row[n] is not None:
                counts[row[n]] = counts.get(row[n], 0) + row[-1]
        found.append(tuple(sorted(sorted(counts), key=counts.__getitem__, reverse=True)[:_MAX_CHOICES]))
    severities = tuple(s for s in reversed(SEVERITIES) if s in found[1])
    return Choices(found[0], severities, found[2], found[3], found[4])


def _alerts(connection: Connection, conditions: list[Any], place: Place, rows: int) -> list[Row[Any]]:
    key: Any = alert.c.number
    last: Any = alert.c.time_us
    query = select(key, last.label("last"), last.label("first"), literal(1).label("alerts"), key.label("lead"))
    query = query.where(*conditions)
    query = query if place is None else query.where(_before(last, key, place))
    return list(connection.execute(query.order_by(last.desc(), key.desc()).limit(rows)))


def _newest_groups(connection: Connection, conditions: list[Any], place: Place, rows: int) -> list[Row[Any]] | None:
    """The first groups, found without a look at all alerts; None if the newest alerts have too few of them."""
    before = [] if place is None else [alert.c.time_us <= place[0]]
    newest = select(alert.c.time_us).where(*before).order_by(alert.c.time_us.desc())
    since = connection.scalar(newest.offset(_NEWEST).limit(1))
    recent = [*before, alert.c.time_us > since] if since is not None else before
    # of a text search, PostgreSQL may read these alerts' texts again: that must stay few
    some = select(alert.c.group_id).where(*conditions, *recent).group_by(alert.c.group_id)
    some = some.order_by(func.max(alert.c.time_us).desc(), alert.c.group_id.desc()).limit(2 * rows)
    keys = list(connection.scalars(some))
    found = _groups(connection, [*conditions, alert.c.group_id.in_(keys)], place, rows)
    complete = since is None and len(keys) < 2 * rows
    return found if complete or len(found) == rows else None


def _groups(connection: Connection, conditions: list[Any], place: Place, rows: int) -> list[Row[Any]]:
    key, last, first = alert.c.group_id, func.max(alert.c.time_us), func.min(alert.c.time_us)
    lead = func.max(alert.c.number).label("lead")
    query = select(key, last.label("last"), first.label("first"), func.count().label("alerts"), lead)
    query = query.where(*conditions).group_by(key)
    query = query if place is None else query.having(_before(last, key, place))
    return list(connection.execute(query.order_by(last.desc(), key.desc()).limit(rows)))


def _before(time: Any, key: Any, place: tuple[int, int]) -> Any:
    return or_(time < place[0], and_(time == place[0], key < place[1]))


def _place(after: str) -> Place:
    if not after:
        return None
    found = _AFTER.fullmatch(after)
    if found is None:
        raise BadQuery("after: not from a page of this list")
    return int(found[1]), int(found[2])


def _labels(connection: Any, numbers: list[int]) -> dict[int, tuple[str, ...]]:
    query = select(alert_feature).where(alert_feature.c.number.in_(numbers), alert_feature.c.position < 3)
    found: dict[int, tuple[str, ...]] = {}
    for row in connection.execute(query.order_by(alert_feature.c.number, alert_feature.c.position)):
        found[row.number] = (*found.get(row.number, ()), row.label)
    return found


def _peeks(connection: Any, numbers: list[int]) -> dict[int, Peek]:
    query = select(alert_body.c.number, alert_body.c.peek, alert_body.c.peek_start, alert_body.c.peek_end)
    rows = connection.execute(query.where(alert_body.c.number.in_(numbers)))
    return {
        row.number: Peek(row.peek[: row.peek_start], row.peek[row.peek_start : row.peek_end], row.peek[row.peek_end :])
        for row in rows
    }
