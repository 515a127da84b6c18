"""Source: the promises that every origin of records keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from monitor.events.event import Record
from monitor.events.position import Position
from monitor.events.unread_range import UnreadRange


class Source(Protocol):
    """Hands out records and remembers, on `commit`, that all handed out so far are dealt with."""

    @property
    def exhausted(self) -> bool:
        """True once no further record will ever come (end of a file); a stream never is."""

    @property
    def unready(self) -> str:
        """Why no records can come right now, such as a broker that is down; empty when they can."""

    def poll(self) -> Sequence[Record | UnreadRange]:
        """The next records, oldest first in each partition; empty when none came in time. Blocks for a second at most.

        An UnreadRange stands in the place of records that cannot be read. Raises Retryable when the origin is down or
        does not let us read yet, and Permanent when trying again cannot help.
        """

    def keep_alive(self) -> None:
        """Called between model batches of a long computation, so that a group member is not taken for dead."""

    def commit(self) -> None:
        """Everything handed out so far is dealt with. Called only after all sinks have flushed, and after empty polls.

        Raises Retryable, or Rewound if its commit is part of a transaction. A partition that was taken away meanwhile
        is not an error: its new owner reads again.
        """

    def positions(self) -> Sequence[Position] | None:
        """Every partition that it reads, a few seconds old at most; None while unknown. Called from any thread."""

    def close(self) -> None:
        """Leaves the group and frees everything. Does not commit."""
