"""Ingest: stores alerts once each, however often they are delivered."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import ValidationError
from sqlalchemy import Connection, Engine, delete, exists, insert, select, text
from sqlalchemy.exc import DataError, IntegrityError, InterfaceError

from monitor.alerts.alert import Alert
from monitor.review.alert_rows import AlertRows, alert_rows
from monitor.review.groups import Groups
from monitor.review.tables import alert, alert_body, alert_feature, alert_group

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
            # fields of a newer version are left out
            rows = alert_rows(Alert.model_validate_json(value, extra="ignore"))
        except (ValidationError, OverflowError, ValueError):
            bad += 1
            continue
        rows.alert["stored_us"] = stored_us
        found.setdefault(rows.alert["id"], rows)
    try:
        with engine.begin() as connection:
            new = _store(connection, _unknown(connection, found))
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
                empty = ~exists().where(alert.c.group_id == alert_group.c.id)
                connection.execute(delete(alert_group).where(empty))
                return deleted
            if connection.dialect.name == "sqlite":
                gone = [{"number": number} for number in numbers]
                connection.execute(text("DELETE FROM alert_search WHERE rowid = :number"), gone)
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
                new += _store(connection, _unknown(connection, {rows.alert["id"]: rows}))
        except _UNSTORABLE:
            refused += 1
    return new, refused


def _store(connection: Connection, batch: Sequence[AlertRows]) -> int:
    if not batch:
        return 0
    groups = Groups(connection)
    values = [{**rows.alert, "group_id": groups.of(rows)} for rows in batch]
    groups.save()
    new = insert(alert).returning(alert.c.number, sort_by_parameter_order=True)
    numbers = list(connection.scalars(new, values))
    bodies = [{"number": number, **rows.body} for number, rows in zip(numbers, batch, strict=True)]
    connection.execute(insert(alert_body), bodies)
    features = [
        {"number": number, **feature} for number, rows in zip(numbers, batch, strict=True) for feature in rows.features
    ]
    if features:
        connection.execute(insert(alert_feature), features)
    if connection.dialect.name == "sqlite":
        search = text("INSERT INTO alert_search (rowid, words) VALUES (:number, :words)")
        connection.execute(search, [{"number": body["number"], "words": body["words"]} for body in bodies])
    return len(batch)
