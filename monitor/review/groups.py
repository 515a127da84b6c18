"""Groups: which group of similar alerts an alert belongs to."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, insert, select, update

from monitor.review.alert_rows import AlertRows
from monitor.review.similar import alike
from monitor.review.tables import alert_group

_BURST_US = 24 * 3_600 * 1_000_000
_MOST_GROUPS = 200
"""Of one set and the same features that are compared: the latest."""


@dataclass
class _Group:
    id: int
    simhash: str | None
    last_us: int
    moved: bool = False


class Groups:
    """The groups of one batch, read once for each set and features. An alert joins within a day of the latest one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: dict[str, list[_Group]] = {}

    def of(self, rows: AlertRows) -> int:
        """The id of the group of an alert; a new one if no alert is like it."""
        time_us: int = rows.alert["time_us"]
        groups = self._known.get(rows.likeness)
        if groups is None:
            groups = self._known[rows.likeness] = self._read(rows.likeness, time_us)
        for group in reversed(groups):
            if abs(time_us - group.last_us) <= _BURST_US and alike(group.simhash, rows.simhash):
                if time_us > group.last_us:
                    group.last_us, group.moved = time_us, True
                return group.id
        new = insert(alert_group).values(likeness=rows.likeness, simhash=rows.simhash, last_us=time_us)
        added = self._connection.execute(new.returning(alert_group.c.id)).scalar_one()
        groups.append(_Group(added, rows.simhash, time_us))
        return int(added)

    def save(self) -> None:
        """Stores the new times of groups."""
        moved = [{"group": g.id, "time": g.last_us} for groups in self._known.values() for g in groups if g.moved]
        if moved:
            change = update(alert_group).where(alert_group.c.id == bindparam("group"))
            self._connection.execute(change.values(last_us=bindparam("time")), moved)

    def _read(self, likeness: str, time_us: int) -> list[_Group]:
        """The latest groups up to a day after `time_us`, the oldest first."""
        columns = alert_group.c
        query = select(columns.id, columns.simhash, columns.last_us).where(
            columns.likeness == likeness, columns.last_us <= time_us + _BURST_US
        )
        rows = self._connection.execute(query.order_by(columns.last_us.desc()).limit(_MOST_GROUPS))
        return [_Group(row.id, row.simhash, row.last_us) for row in rows][::-1]
