"""Inbox: the bounded queue between the HTTP server, which puts records in, and the pipeline, which takes them out."""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Literal

from monitor.errors import BadEvent
from monitor.events.event import Origin, Record


class InboxFull(Exception):
    """As many records or bytes are held as may be."""


class InboxClosed(Exception):
    """No more records are taken."""


Outcome = Literal["delivered", "lost"] | BadEvent
"""What became of a record: delivered, lost because the process stopped, or why it can't be read."""


@dataclass(frozen=True)
class _Held:
    record: Record
    done: Future[Outcome] = field(default_factory=Future)

    @property
    def size(self) -> int:
        """Bytes that count against the limit."""
        return len(self.record.value or b"") + sum(len(name) + len(value) for name, value in self.record.headers)

    def ends(self, outcome: Outcome) -> None:
        """The first outcome counts."""
        if not self.done.done():
            self.done.set_result(outcome)


class Inbox:
    """Holds records from `offer` until `settle`, in memory only. Thread-safe; one thread takes and settles."""

    def __init__(self, max_records: int, max_bytes: int) -> None:
        """A single record is taken whatever its size, so that none waits for ever."""
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._waiting: deque[_Held] = deque()
        self._taken: dict[Origin, _Held] = {}
        self._bytes = 0
        self._closed = False
        self._changed = threading.Condition()

    def offer(self, record: Record) -> Future[Outcome]:
        """Takes a record. The future says what became of it. Raises InboxFull or InboxClosed."""
        held = _Held(record)
        with self._changed:
            if self._closed:
                raise InboxClosed
            count = len(self._waiting) + len(self._taken)
            if count and (count >= self._max_records or self._bytes + held.size > self._max_bytes):
                raise InboxFull
            self._waiting.append(held)
            self._bytes += held.size
            self._changed.notify_all()
        return held.done

    def take(self, limit: int, timeout_s: float, fill_s: float) -> list[Record]:
        """Up to `limit` records, oldest first. Waits for the first one, then for a moment for more to come."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed, timeout_s)
            until = time.monotonic() + fill_s
            while 0 < len(self._waiting) < limit and not self._closed and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
            found = [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]
            self._taken.update((held.record.origin, held) for held in found)
        return [held.record for held in found]

    def refuse(self, origin: Origin, error: BadEvent) -> None:
        """A record that was taken can't be read; whoever waits for it hears why."""
        with self._changed:
            held = self._taken.get(origin)
        if held is not None:
            held.ends(error)

    def settle(self) -> None:
        """Everything taken so far is dealt with."""
        with self._changed:
            done, self._taken = list(self._taken.values()), {}
            self._bytes -= sum(held.size for held in done)
        for held in done:
            held.ends("delivered")

    def close(self) -> None:
        """From here on nothing is taken in; what is held can still be taken out."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def abandon(self) -> int:
        """Gives up what is still held. Returns how many records that is."""
        self.close()
        with self._changed:
            left = [*self._taken.values(), *self._waiting]
            self._taken.clear()
            self._waiting.clear()
            self._bytes = 0
        for held in left:
            held.ends("lost")
        return len(left)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def waiting(self) -> int:
        """Records not taken out yet."""
        return len(self._waiting)

    def held(self) -> tuple[int, int]:
        """Records and bytes held, waiting or in work."""
        with self._changed:
            return len(self._waiting) + len(self._taken), self._bytes
