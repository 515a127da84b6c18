"""OptionalSink: a sink that must not hold up the loop, whatever becomes of its destination."""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections import deque
from collections.abc import Sequence

from monitor.alerts.alert import Alert
from monitor.errors import Retryable
from monitor.sinks.sink import Sink
from monitor.sinks.status import SinkStatus, reason_of

_log = logging.getLogger(__name__)

_BATCH = 100
_MAX_TEXT_CHARS = 8_000_000
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
_DOUBLINGS = 6
_LONGEST_RETRY_AFTER_S = 300.0
_CLOSE_S = 3.0
_LOG_INTERVAL_S = 60.0


class OptionalSink:
    """Hands alerts to a thread of its own, which delivers them through `sink`. `add` and `flush` never block or raise.

    Alerts wait in a queue that is bounded in number and text; when it is full, the oldest are dropped and counted. A
    failed delivery is repeated, with pauses that double up to half a minute and vary at random, so that many replicas
    don't return at once. What `sink` refuses with Permanent is dropped alone.
    """

    def __init__(self, sink: Sink, status: SinkStatus, max_alerts: int = 1_000) -> None:
        self.name = sink.name
        self._sink = sink
        self._status = status
        self._max_alerts = max_alerts
        self._queue: deque[Alert] = deque()
        self._text_chars = 0
        self._in_hand = 0  # alerts that the thread has taken out of the queue, and that are not delivered yet
        self._flush_asked = False
        self._give_up_at_s: float | None = None  # monotonic; set by close
        self._changed = threading.Condition()
        self._logged_at_s = -math.inf
        self._unlogged = 0
        self._random = random.SystemRandom()
        self._thread = threading.Thread(target=self._run, name=f"sink-{self.name}", daemon=True)
        self._thread.start()

    def add(self, alert: Alert) -> None:
        """Puts one alert in the queue."""
        dropped = 0
        with self._changed:
            self._queue.append(alert)
            self._text_chars += _text_chars(alert)
            while len(self._queue) > self._max_alerts or (self._text_chars > _MAX_TEXT_CHARS and len(self._queue) > 1):
                self._text_chars -= _text_chars(self._queue.popleft())
                dropped += 1
            if len(self._queue) >= _BATCH:
                self._changed.notify_all()
        self._drop(dropped, "the queue is full")

    def flush(self) -> None:
        """Wakes the thread. Returns at once."""
        with self._changed:
            self._flush_asked = True
            self._changed.notify_all()

    def reset(self) -> None:
        """Nothing to forget: the queue belongs to the thread."""

    def close(self) -> None:
        """Delivers what waits, for three seconds at most; the rest is dropped."""
        with self._changed:
            self._give_up_at_s = time.monotonic() + _CLOSE_S
            self._changed.notify_all()
        self._thread.join(_CLOSE_S)
        with self._changed:
            left, self._in_hand = len(self._queue) + self._in_hand, 0
            self._queue.clear()
            self._logged_at_s = -math.inf  # this is the last chance to say how many
        self._drop(left, "the process ended")
        if not self._thread.is_alive():
            self._sink.close()

    # ---- the thread

    def _run(self) -> None:
        while (batch := self._take()) is not None:
            if not self._deliver(batch):
                return

    def _take(self) -> Sequence[Alert] | None:
        """The next alerts; none if there are none but a flush was asked for; None at the end."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._flush_asked or len(self._queue) >= _BATCH or self._give_up_at_s is not None
            )
            if self._over() or (self._give_up_at_s is not None and not self._queue and not self._flush_asked):
                return None
            batch = [self._queue.popleft() for _ in range(min(_BATCH, len(self._queue)))]
            self._text_chars -= sum(map(_text_chars, batch))
            self._in_hand = len(batch)
            if not self._queue:
                self._flush_asked = False
            return batch

    def _deliver(self, batch: Sequence[Alert]) -> bool:
        """Returns when the batch is delivered or dropped; False if the time after close was too short for that."""
        attempt = 0
        while True:
            started = time.perf_counter()
            try:
                for alert in batch:
                    self._sink.add(alert)
                self._sink.flush()
            except Retryable as e:
                self._failed(e, batch, started, first=not attempt)
                if not self._pause(e, attempt):
                    return False
                attempt += 1
            except Exception as e:  # noqa: BLE001 - nothing may end this thread
                self._failed(e, batch, started, first=not attempt)
                self._reset()
                return self._take_apart(batch, reason_of(e))
            else:
                self._settled(len(batch))
                if batch:
                    self._status.delivered(self.name, len(batch), time.perf_counter() - started, required=False)
                if attempt:
                    _log.info("sink %s: works again (failed attempts: %d)", self.name, attempt)
                return True
            self._reset()

    def _take_apart(self, batch: Sequence[Alert], reason: str) -> bool:
        """Delivers each alert by itself, to find the one at fault, which is dropped."""
        if len(batch) > 1:
            return all(self._deliver([alert]) for alert in batch)
        self._settled(len(batch))
        self._drop(len(batch), reason)
        return True

    def _settled(self, alerts: int) -> None:
        with self._changed:
            self._in_hand -= alerts

    def _pause(self, error: Retryable, attempt: int) -> bool:
        """Waits before the next attempt. Returns False if there is no time for one."""
        backoff_s = min(_FIRST_PAUSE_S * 2 ** min(attempt, _DOUBLINGS), _LONGEST_PAUSE_S)
        pause_s = max(backoff_s, min(error.retry_after_s, _LONGEST_RETRY_AFTER_S)) * self._random.uniform(1, 1.5)
        with self._changed:
            if self._give_up_at_s is not None:
                return False  # the last attempt was after close
            self._changed.wait_for(lambda: self._give_up_at_s is not None, pause_s)
            return not self._over()

    def _over(self) -> bool:
        return self._give_up_at_s is not None and time.monotonic() > self._give_up_at_s

    def _reset(self) -> None:
        try:
            self._sink.reset()
        except Exception as e:  # noqa: BLE001
            _log.warning("sink %s: %s", self.name, reason_of(e))

    def _failed(self, error: Exception, batch: Sequence[Alert], started_s: float, first: bool) -> None:
        self._status.failed(self.name, error, len(batch), time.perf_counter() - started_s, required=False)
        if first:
            _log.warning("sink %s: %s; alerts wait for it, and nothing else does", self.name, reason_of(error))

    def _drop(self, alerts: int, reason: str) -> None:
        """Counts alerts that are lost; the log says so once a minute."""
        if not alerts:
            return
        self._status.dropped(self.name, alerts)
        with self._changed:
            self._unlogged += alerts
            now = time.monotonic()
            if now - self._logged_at_s < _LOG_INTERVAL_S:
                return
            count, self._unlogged, self._logged_at_s = self._unlogged, 0, now
        _log.warning("sink %s: %d alerts dropped: %s", self.name, count, reason)


def _text_chars(alert: Alert) -> int:
    return 0 if alert.content is None else len(alert.content.prompt) + len(alert.content.text)
