"""Publisher: events on their way out, in a bounded queue that never holds up who puts them in."""

from __future__ import annotations

import atexit
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from monitor.errors import LatentwatchError, Retryable
from monitor.producers.transport import Message, Transport

_log = logging.getLogger(__name__)

_BATCH = 100
_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_DOUBLINGS = 6
_LOG_INTERVAL_S = 60.0


class Publishable(Protocol):
    """What can be put in: encoding it is left to the publisher's thread."""

    @property
    def size(self) -> int:
        """Bytes that it takes in memory, roughly."""

    def message(self) -> Message | None:
        """It, encoded; None if there is nothing to publish."""


@dataclass(frozen=True)
class Encoded:
    """Something that was encoded before."""

    encoded: Message

    @property
    def size(self) -> int:
        """See Publishable."""
        return len(self.encoded.value)

    def message(self) -> Message | None:
        """See Publishable."""
        return self.encoded


@dataclass(frozen=True)
class PublisherCounts:
    """What became of everything that was put in so far."""

    published: int
    dropped: int
    waiting: int


class Publisher:
    """Sends from a thread of its own, started by the first `publish`. Thread-safe.

    If the destination is down, what is put in waits in memory up to the limits, and more is dropped, counted and
    logged once a minute: the service that produces the events goes on without delay.
    """

    def __init__(self, transport: Transport, max_events: int = 1_000, max_bytes: int = 16_777_216) -> None:
        self._transport = transport
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._queue: deque[Publishable] = deque()
        self._bytes = 0
        self._published = 0
        self._dropped = 0
        self._unlogged = 0
        self._logged_at = -_LOG_INTERVAL_S
        self._closing = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def publish(self, item: Publishable) -> bool:
        """Puts one event in the queue. Returns False if it was dropped instead. Never blocks, never raises."""
        with self._changed:
            full = len(self._queue) >= self._max_events or self._bytes + item.size > self._max_bytes
            if full or self._closing:
                reason = "the publisher is closed" if self._closing else "the queue is full"
            else:
                self._queue.append(item)
                self._bytes += item.size
                self._start()
                self._changed.notify_all()
                return True
        self.drop(reason)
        return False

    def drop(self, reason: str) -> None:
        """Counts an event that is not published; the log says so, with the last reason, once a minute."""
        with self._changed:
            self._dropped += 1
            self._unlogged += 1
            now = time.monotonic()
            if now - self._logged_at < _LOG_INTERVAL_S:
                return
            count, self._unlogged, self._logged_at = self._unlogged, 0, now
        _log.warning("%d events were not published: %s", count, reason)

    def counts(self) -> PublisherCounts:
        """What became of everything so far."""
        with self._changed:
            return PublisherCounts(self._published, self._dropped, len(self._queue))

    def flush(self, timeout_s: float) -> bool:
        """Waits until nothing waits any more. Returns False if that takes too long."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._queue, timeout_s)

    def close(self, timeout_s: float = 5.0) -> None:
        """Sends what waits, for `timeout_s` at most; the rest is dropped and logged."""
        self.flush(timeout_s if self._thread is not None else 0)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        atexit.unregister(self.close)
        if self._thread is not None:
            self._thread.join(timeout_s)
        with self._changed:
            left = len(self._queue)
            self._queue.clear()
            self._bytes = 0
            self._dropped += left
        if left:
            _log.warning("%d events were not published: the process stopped", left)

    def _start(self) -> None:
        if self._thread is None or not self._thread.is_alive():  # a fork leaves the thread behind
            self._thread = threading.Thread(target=self._run, name="latentwatch-publisher", daemon=True)
            self._thread.start()
            atexit.register(self.close)

    def _run(self) -> None:
        attempt = 0
        while (batch := self._batch()) is not None:
            try:
                self._send(batch)
            except Retryable as e:
                pause_s = min(max(e.retry_after_s, _PAUSE_S * 2 ** min(attempt, _DOUBLINGS)), _LONGEST_PAUSE_S)
                if not attempt:
                    _log.warning("events wait to be published: %s", e)
                attempt += 1
                with self._changed:
                    self._changed.wait_for(lambda: self._closing, pause_s)
            else:
                if attempt:
                    _log.info("events are published again")
                attempt = 0
                self._done(batch)
        self._transport.close()

    def _batch(self) -> list[Publishable] | None:
        """The first ones of the queue, which stay there until they are sent; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing)
            if self._closing:
                return None
            return list(itertools.islice(self._queue, _BATCH))

    def _done(self, batch: Sequence[Publishable]) -> None:
        with self._changed:
            for item in batch[: len(self._queue)]:
                self._queue.popleft()
                self._bytes -= item.size
            self._changed.notify_all()

    def _send(self, batch: Sequence[Publishable]) -> None:
        """Delivers what can be delivered, and drops what never can. Raises Retryable."""
        messages = [message for item in batch if (message := self._encoded(item)) is not None]
        try:
            if messages:
                self._transport.send(messages)
                self._count(len(messages))
        except Retryable:
            raise
        except Exception as e:  # noqa: BLE001 - nothing may end this thread
            if len(messages) == 1:
                self.drop(_reason(e))
                return
            for message in messages:  # to find the one at fault; others may be sent twice, with the same id
                self._send_one(message)

    def _send_one(self, message: Message) -> None:
        try:
            self._transport.send([message])
            self._count(1)
        except Retryable:
            raise
        except Exception as e:  # noqa: BLE001
            self.drop(_reason(e))

    def _encoded(self, item: Publishable) -> Message | None:
        try:
            return item.message()
        except Exception as e:  # noqa: BLE001
            self.drop(_reason(e))
            return None

    def _count(self, published: int) -> None:
        with self._changed:
            self._published += published


def _reason(error: Exception) -> str:
    """For the log: errors of others may hold text of events."""
    return str(error) if isinstance(error, LatentwatchError) else type(error).__name__
