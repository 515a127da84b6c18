"""ToldDeadLetters: bad records whose senders may still be waiting for an answer."""

from __future__ import annotations

from collections.abc import Callable

from monitor.errors import BadEvent
from monitor.events.event import Origin, Record
from monitor.sinks.sink import DeadLetters


class ToldDeadLetters:
    """DeadLetters of events that came without a broker: the sender is told, and the record goes on to `rest`, if any.

    The metric of bad events counts them in either case.
    """

    def __init__(self, tell: Callable[[Origin, BadEvent], None], rest: DeadLetters | None = None) -> None:
        self._tell = tell
        self._rest = rest

    def add(self, record: Record, error: BadEvent) -> None:
        self._tell(record.origin, error)
        if self._rest is not None:
            self._rest.add(record, error)

    def flush(self) -> None:
        if self._rest is not None:
            self._rest.flush()

    def reset(self) -> None:
        if self._rest is not None:
            self._rest.reset()

    def close(self) -> None:
        if self._rest is not None:
            self._rest.close()
