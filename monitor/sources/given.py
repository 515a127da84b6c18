"""GivenRecords: a source of records that were read before."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.events.event import Record
from monitor.events.unread_range import UnreadRange


class GivenRecords:
    """A Source of what it was given last; ends after each, and goes on when it is given more.

    By it, several pipelines can read the same records, one poll after the other.
    """

    unready = ""

    def __init__(self) -> None:
        self._given: Sequence[Record | UnreadRange] = ()

    def give(self, records: Sequence[Record | UnreadRange]) -> None:
        """What the next poll hands out."""
        self._given = records

    @property
    def exhausted(self) -> bool:
        """Whether everything given was handed out."""
        return not self._given

    def poll(self) -> Sequence[Record | UnreadRange]:
        """See Source."""
        given, self._given = self._given, ()
        return given

    def keep_alive(self) -> None:
        """Nothing to do: they are here already."""

    def commit(self) -> None:
        """Nothing to do: whoever gave them knows how far it got."""

    def positions(self) -> None:
        """Unknown."""

    def close(self) -> None:
        """Nothing to free."""
