"""Source: the promises that every origin of records keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from monitor.events.event import Record


class Source(Protocol):
    """Hands out records and remembers, on `commit`, that all handed out so far are dealt with."""

    @property
    def exhausted(self) -> bool:
        """True once no further record will ever come (end of a file); a stream never is."""

    @property
    def connected(self) -> bool:
        """Whether the origin has answered lately; for readiness."""

    @property
    def assigned(self) -> bool:
        """Whether there is a settled claim to records, such as a place in a consumer group; for readiness."""

    def poll(self) -> Sequence[Record]:
        """The next records, oldest first in each partition; empty when none came in time. Blocks for a second at most.

        Raises Retryable when the origin is away and Permanent when it refuses us.
        """

    def keep_alive(self) -> None:
        """Called between model batches of a long computation, so that a group member is not taken for dead."""

    def commit(self) -> None:
        """Everything handed out so far is dealt with. Called only after all sinks have flushed.

        Raises Retryable. A partition that was taken away meanwhile is not an error: its new owner reads again.
        """

    def lag(self) -> int | None:
        """Records not yet handed out, or None where that is unknown."""

    def close(self) -> None:
        """Leaves the group and frees everything. Does not commit."""
