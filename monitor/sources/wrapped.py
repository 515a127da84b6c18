"""WrappedSource: a Source that changes what another one hands out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from monitor.events.event import Record
from monitor.events.position import Position
from monitor.events.unread_range import UnreadRange
from monitor.sources.source import Source


class WrappedSource(ABC):
    """A Source of what `poll` makes of the records of another one, `_rest`."""

    unready = ""

    def __init__(self, rest: Source) -> None:
        self._rest = rest

    @property
    def exhausted(self) -> bool:
        """See Source."""
        return self._rest.exhausted

    @abstractmethod
    def poll(self) -> Sequence[Record | UnreadRange]:
        """See Source."""

    def keep_alive(self) -> None:
        """See Source."""
        self._rest.keep_alive()

    def commit(self) -> None:
        """See Source."""
        self._rest.commit()

    def positions(self) -> Sequence[Position] | None:
        """See Source."""
        return self._rest.positions()

    def close(self) -> None:
        """See Source."""
        self._rest.close()
