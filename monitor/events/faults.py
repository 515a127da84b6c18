"""Faults: what can't be read of one record, next to what can."""

from __future__ import annotations

from monitor.errors import BadEvent

_MOST = 100
_NAMED = 16


class Faults:
    """The faults of one record. A record with too many is not read further, so that none costs unbounded time."""

    def __init__(self) -> None:
        self._found: list[BadEvent] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    @property
    def full(self) -> bool:
        """Whether there are so many that the rest of the record is not read."""
        return len(self._found) >= _MOST

    @property
    def first(self) -> BadEvent:
        """The first fault. There must be one."""
        return self._found[0]

    def add(self, fault: BadEvent) -> None:
        """Remembers `fault` if there are not too many already."""
        if not self.full:
            self._found.append(fault)

    def as_one(self, judged: bool) -> BadEvent:
        """All of them as the reason to dead-letter the record: the path and kind of the first, and every reason.

        `judged` says whether other events of the record were judged. There must be at least one fault.
        """
        first = self.first
        reason = first.reason
        if len(self._found) > 1:
            named = "; ".join(f"{fault.path}: {fault.reason}" for fault in self._found[:_NAMED])
            unnamed = len(self._found) - _NAMED
            more = f"; and {unnamed} more" if unnamed > 0 else ""
            reason = f"{len(self._found)} faults: {named}{more}"
        if self.full:
            reason += "; the rest of the record was not read"
        if judged:
            reason += " (the record's other events were judged)"
        return BadEvent(reason, first.path, first.kind)
