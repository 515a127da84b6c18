"""Queue: the alerts whose verdicts would tell most."""

from __future__ import annotations

from sqlalchemy import Engine, exists, func, select

from monitor.review.filters import Filters
from monitor.review.tables import alert, verdict

_MOST_ALERTS = 10_000


def queue(engine: Engine, reviewer: str, filters: Filters, most: int = 50) -> tuple[str, ...]:
    """Ids of alerts that nobody has judged, most telling first.

    Sets and tenants take turns. In each, the alert closest to the threshold comes first, because that is where right
    and wrong alerts meet, and only one of a group of similar alerts. Only the newest 10,000
    such alerts are compared, and those assigned to other people are left out.
    """
    with engine.connect() as connection:
        open_to_me = alert.c.assignee.is_(None) | (alert.c.assignee == reviewer)
        mine = exists().where(verdict.c.number == alert.c.number, verdict.c.reviewer == reviewer)
        fitting = [*filters.conditions(connection.dialect.name), alert.c.verdict.is_(None), open_to_me, ~mine]
        newest = (
            select(alert)
            .where(*fitting)
            .order_by(alert.c.time_us.desc(), alert.c.number.desc())
            .limit(_MOST_ALERTS)
            .subquery()
        )
        in_group = (
            func.row_number()
            .over(partition_by=newest.c.group_id, order_by=(newest.c.margin, newest.c.number))
            .label("in_group")
        )
        groups = select(newest.c.id, newest.c.set_id, newest.c.tenant, newest.c.margin, in_group).subquery()
        turn = (
            func.row_number()
            .over(partition_by=(groups.c.set_id, groups.c.tenant), order_by=(groups.c.margin, groups.c.id))
            .label("turn")
        )
        turns = select(groups.c.id, groups.c.margin, turn).where(groups.c.in_group == 1).subquery()
        query = select(turns.c.id).order_by(turns.c.turn, turns.c.margin, turns.c.id).limit(most)
        return tuple(connection.scalars(query))
