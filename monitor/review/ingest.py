"""Ingest: stores alerts once each, however often they are delivered."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, Engine, delete, insert, select, text, update
from sqlalchemy.exc import DataError, IntegrityError, InterfaceError

from monitor.alerts.alert import Alert
from monitor.review.alert_rows import AlertRows, alert_rows
from monitor.review.similar import alike
from monitor.review.tables import alert, alert_body, alert_feature, alert_group

_BURST_US = 24 * 3_600 * 1_000_000
_MOST_GROUPS = 200
_MANY = 500
# values that no column can hold: a latent of 2^70, a score that is not a number
_UNSTORABLE = (DataError, IntegrityError, InterfaceError, OverflowError)


@dataclass(frozen=True)
class Stored:
    """What became of a batch of records."""

    new: int
    repeated: int
    bad: int
    """Not alerts of this format, or with values that the database cannot hold."""


def store_alerts(engine: Engine, values: Iterable[bytes], now_us: int | None = None) -> Stored:
    """Stores one batch in one transaction. Raises sqlalchemy.exc.OperationalError if the database is down."""
    stored_us = time.time_ns() // 1_000 if now_us is None else now_us
    found: dict[str, AlertRows] = {}
    total = bad = 0
    for value in values:
        total += 1
        try:
            rows = alert_rows(Alert.from_json(value))
        except (ValidationError, OverflowError, ValueError):
            bad += 1
            continue
        rows.alert["stored_us"] = stored_us
        found.setdefault(rows.alert["id"], rows)
    try:
        with engine.begin() as connection:
            new = sum(_store(connection, rows) for rows in _unknown(connection, found))
    except _UNSTORABLE:
        new, refused = _one_by_one(engine, list(found.values()))
        bad += refused
    return Stored(new, total - bad - new, bad)


def delete_older(engine: Engine, before_us: int) -> int:
    """Deletes alerts stored before that time that nobody has judged or was assigned; returns how many."""
    deleted = 0
    while True:
        with engine.begin() as connection:
            old = select(alert.c.number).where(
                alert.c.stored_us < before_us, alert.c.verdict.is_(None), alert.c.assignee.is_(None)
            )
            numbers = list(connection.scalars(old.limit(_MANY)))
            if not numbers:
                return deleted
            if connection.dialect.name == "sqlite":
                for number in numbers:
                    connection.execute(text("DELETE FROM alert_search WHERE rowid = :n"), {"n": number})
            connection.execute(delete(alert).where(alert.c.number.in_(numbers)))
            deleted += len(numbers)


def _unknown(connection: Connection, found: dict[str, AlertRows]) -> list[AlertRows]:
    known: set[str] = set()
    ids = list(found)
    for start in range(0, len(ids), _MANY):
        part = ids[start : start + _MANY]
        known.update(connection.scalars(select(alert.c.id).where(alert.c.id.in_(part))))
    return [rows for alert_id, rows in found.items() if alert_id not in known]


def _one_by_one(engine: Engine, batch: Sequence[AlertRows]) -> tuple[int, int]:
    new = refused = 0
    for rows in batch:
        try:
            with engine.begin() as connection:
                for unknown in _unknown(connection, {rows.alert["id"]: rows}):
                    new += _store(connection, unknown)
        except _UNSTORABLE:
            refused += 1
    return new, refused


def _store(connection: Connection, rows: AlertRows) -> int:
    values: dict[str, Any] = {**rows.alert, "group_id": _group(connection, rows)}
    number = connection.execute(insert(alert).values(values)).inserted_primary_key[0]  # type: ignore[index]
    connection.execute(insert(alert_body).values(number=number, **rows.body))
    if rows.features:
        connection.execute(insert(alert_feature), [{"number": number, **feature} for feature in rows.features])
    if connection.dialect.name == "sqlite":
        search = text("INSERT INTO alert_search (rowid, words) VALUES (:number, :words)")
        connection.execute(search, {"number": number, "words": rows.body["words"]})
    return 1


def _group(connection: Connection, rows: AlertRows) -> int:
    """The group of similar alerts of the last day, or a new one."""
    time_us = rows.alert["time_us"]
    near = alert_group.c.last_us.between(time_us - _BURST_US, time_us + _BURST_US)
    groups = select(alert_group).where(alert_group.c.likeness == rows.likeness, near)
    for group in connection.execute(groups.order_by(alert_group.c.last_us.desc()).limit(_MOST_GROUPS)):
        if alike(group.simhash, rows.simhash):
            if time_us > group.last_us:
                connection.execute(update(alert_group).where(alert_group.c.id == group.id).values(last_us=time_us))
            return int(group.id)
    new = insert(alert_group).values(likeness=rows.likeness, simhash=rows.simhash, last_us=time_us)
    return int(connection.execute(new).inserted_primary_key[0])  # type: ignore[index]
