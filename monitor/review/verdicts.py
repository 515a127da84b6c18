"""Verdicts: what reviewers say about alerts, where an alert stands by all of them, and the trail of changes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sqlalchemy import Connection, Engine, delete, insert, select, update

from monitor.review.tables import alert, audit, verdict

Said = Literal["true_positive", "false_positive", "unsure"]
SAID: tuple[Said, ...] = get_args(Said)
STANDINGS = (*SAID, "disputed")
"""Of an alert: what all who are sure say; disputed if they differ; unsure if nobody is sure."""
MAX_NOTE_CHARS = 4_000
MAX_ALERTS = 1_000
"""Most alerts that one verdict may be given to at once."""


@dataclass(frozen=True)
class Verdict:
    """What one reviewer says about one alert."""

    reviewer: str
    verdict: Said
    category: str | None = None
    """If the text belongs to another category."""
    note: str = ""
    time_us: int = 0

    def told(self) -> dict[str, Any]:
        """For the trail."""
        return {"verdict": self.verdict, "category": self.category, "note": self.note}


@dataclass(frozen=True)
class Change:
    """One entry of the trail."""

    time_us: int
    who: str
    action: str
    before: str | None
    after: str | None


def standing(said: Iterable[str]) -> str | None:
    """Where an alert stands by all its verdicts; None without any."""
    said = set(said)
    sure = said - {"unsure"}
    if len(sure) > 1:
        return "disputed"
    return next(iter(sure or said), None)


def give_verdict(engine: Engine, numbers: Sequence[int], given: Verdict) -> int:
    """Stores a reviewer's verdict on alerts, in place of an earlier one; returns how many alerts there were."""
    with engine.begin() as connection:
        found = _alerts(connection, numbers)
        for number, alert_id in found:
            mine = (verdict.c.number == number) & (verdict.c.reviewer == given.reviewer)
            before = connection.execute(select(verdict).where(mine)).first()
            connection.execute(delete(verdict).where(mine))
            connection.execute(
                insert(verdict).values(
                    number=number,
                    reviewer=given.reviewer,
                    verdict=given.verdict,
                    category=given.category,
                    note=given.note,
                    time_us=given.time_us,
                )
            )
            was = None if before is None else _told(before)
            _note(connection, alert_id, given.time_us, given.reviewer, "verdict", was, given.told())
            _restand(connection, number)
    return len(found)


def withdraw_verdict(engine: Engine, number: int, reviewer: str, time_us: int) -> None:
    """Removes a reviewer's verdict, if there is one."""
    with engine.begin() as connection:
        mine = (verdict.c.number == number) & (verdict.c.reviewer == reviewer)
        before = connection.execute(select(verdict).where(mine)).first()
        if before is None:
            return
        connection.execute(delete(verdict).where(mine))
        (alert_id,) = (found for _, found in _alerts(connection, [number]))
        _note(connection, alert_id, time_us, reviewer, "withdraw", _told(before), None)
        _restand(connection, number)


def assign(engine: Engine, number: int, assignee: str | None, who: str, time_us: int) -> None:
    """Says who should look at an alert; None: nobody in particular."""
    with engine.begin() as connection:
        row = connection.execute(select(alert.c.id, alert.c.assignee).where(alert.c.number == number)).first()
        if row is None or row.assignee == assignee:
            return
        connection.execute(update(alert).where(alert.c.number == number).values(assignee=assignee))
        _note(connection, row.id, time_us, who, "assign", row.assignee, assignee)


def note_reading(engine: Engine, alert_id: str, who: str, time_us: int) -> None:
    """Writes into the trail that a reviewer had the text of an alert read again from Kafka."""
    with engine.begin() as connection:
        _note(connection, alert_id, time_us, who, "read again", None, None)


def verdicts_on(connection: Connection, number: int) -> tuple[Verdict, ...]:
    """All verdicts on an alert, the oldest first."""
    rows = connection.execute(select(verdict).where(verdict.c.number == number).order_by(verdict.c.time_us))
    return tuple(Verdict(r.reviewer, r.verdict, r.category, r.note, r.time_us) for r in rows)


def trail(connection: Connection, alert_id: str, most: int = 200) -> tuple[Change, ...]:
    """What was done to an alert, the newest first."""
    rows = connection.execute(
        select(audit).where(audit.c.alert_id == alert_id).order_by(audit.c.entry.desc()).limit(most)
    )
    return tuple(Change(r.time_us, r.who, r.action, r.before, r.after) for r in rows)


def _alerts(connection: Connection, numbers: Sequence[int]) -> list[tuple[int, str]]:
    query = select(alert.c.number, alert.c.id).where(alert.c.number.in_(numbers[:MAX_ALERTS]))
    # in one order, and locked, so that reviewers of one alert wait for each other
    rows = connection.execute(query.order_by(alert.c.number).with_for_update())
    return [(row.number, row.id) for row in rows]


def _restand(connection: Connection, number: int) -> None:
    said = connection.scalars(select(verdict.c.verdict).where(verdict.c.number == number))
    connection.execute(update(alert).where(alert.c.number == number).values(verdict=standing(said)))


def _told(row: Any) -> dict[str, Any]:
    return {"verdict": row.verdict, "category": row.category, "note": row.note}


def _note(
    connection: Connection, alert_id: str, time_us: int, who: str, action: str, before: object, after: object
) -> None:
    connection.execute(
        insert(audit).values(
            alert_id=alert_id,
            time_us=time_us,
            who=who,
            action=action,
            before=None if before is None else json.dumps(before, ensure_ascii=False),
            after=None if after is None else json.dumps(after, ensure_ascii=False),
        )
    )
