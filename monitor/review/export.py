"""Export: judged alerts as labelled rows, one JSON object a line, as the lab's commands read them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Engine, func, select

from monitor.alerts.alert import Alert
from monitor.review.filters import Filters
from monitor.review.tables import alert, alert_body, verdict

Which = Literal["all", "true", "false"]
_STANDINGS: dict[str, tuple[str, ...]] = {
    "all": ("true_positive", "false_positive"),
    "true": ("true_positive",),
    "false": ("false_positive",),
}
# the lab has rows about what a user or a model said
_SEGMENTS = ("user", "assistant", "response")
_BATCH = 200


@dataclass(frozen=True)
class Exportable:
    """How many alerts an export has, and how many it leaves out."""

    rows: int
    without_text: int
    """Judged, but content capture was off."""


def exportable(engine: Engine, filters: Filters) -> Exportable:
    """What an export of all judged alerts would hold."""
    with engine.connect() as connection:
        query = select(alert.c.has_text, func.count()).where(
            alert.c.verdict.in_(_STANDINGS["all"]), *filters.conditions(connection.dialect.name)
        )
        counts = {row[0]: row[1] for row in connection.execute(query.group_by(alert.c.has_text))}
    return Exportable(counts.get(True, 0), counts.get(False, 0))


def labelled_rows(engine: Engine, filters: Filters, which: Which = "all") -> Iterator[str]:
    """Lines of JSON, oldest alert first. Alerts without a text, and of the system prompt or a tool, are left out."""
    after = 0
    while True:
        with engine.connect() as connection:
            query = (
                select(alert.c.number, alert.c.verdict, alert_body.c.json)
                .join(alert_body, alert_body.c.number == alert.c.number)
                .where(
                    alert.c.verdict.in_(_STANDINGS[which]),
                    alert.c.has_text,
                    alert.c.number > after,
                    *filters.conditions(connection.dialect.name),
                )
                .order_by(alert.c.number)
                .limit(_BATCH)
            )
            rows = list(connection.execute(query))
            said = _said(connection, [row.number for row in rows])
        for row in rows:
            after = row.number
            line = _row(Alert.from_json(row.json), row.verdict == "true_positive", said.get(row.number, []))
            if line is not None:
                yield json.dumps(line, ensure_ascii=False) + "\n"
        if len(rows) < _BATCH:
            return


def _said(connection: Any, numbers: list[int]) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    query = select(verdict).where(verdict.c.number.in_(numbers)).order_by(verdict.c.number, verdict.c.time_us)
    for row in connection.execute(query):
        found.setdefault(row.number, []).append(row)
    return found


def _row(found: Alert, risky: bool, said: list[Any]) -> dict[str, Any] | None:
    content, segment = found.content, found.segment.name
    if content is None or segment not in _SEGMENTS or not content.text:
        return None
    by_user = segment == "user"
    categories = [row.category for row in said if row.category]
    return {
        "id": found.id,
        # the prompt is the user's last turn, which an earlier turn of the assistant did not answer
        "prompt": content.text if by_user else content.prompt if segment == "response" else "",
        "response": "" if by_user else content.text,
        "label": int(risky),
        "label_of": "prompt" if by_user else "response",
        "source": f"review:{found.set.id}",
        "set": found.set.id,
        "category": categories[-1] if categories else found.set.category,
        "score": found.score,
        "threshold": found.threshold,
        "reviewers": [row.reviewer for row in said],
        "notes": [row.note for row in said if row.note],
    }
