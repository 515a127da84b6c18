"""SoakRun: one sidecar under as much load as it takes, then under a little less, then without a broker."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.brokers import ApacheKafka
from tests.integration.bad_records import small_bad_records
from tests.integration.short_events import short_event
from tests.integration.sidecar import DEAD_LETTERED, EVENTS_DONE, READY_S, Sidecar, write_config
from tests.integration.stream import Outgoing, Stream
from tests.soak.usage import Growth, Usage

_BAD_EVERY = 100
_BACKLOG = 300
"""Events that always wait at saturation."""
_SAMPLE_S = 5.0
_STEP_S = 2.0
_SHOW_S = 60.0
_STUCK_S = 180.0


@dataclass(frozen=True)
class Load:
    """What happened at a load below saturation."""

    per_s: float
    """Events published."""
    lag: float
    """Events that wait, median of the second half."""
    most_lag: int


class SoakRun:
    """A running sidecar and its topics; a context manager."""

    def __init__(self, broker: ApacheKafka, folder: Path, say: Callable[[str], None]) -> None:
        self._broker, self._say = broker, say
        self._stream = Stream(broker)
        # with the sets' own thresholds; and the cache of beginnings is small, so that it is full early
        changes = {"feature_sets": {"overrides": None}, "reader": {"prefix_cache_bytes": 8_000_000}}
        self._sidecar = Sidecar(write_config(folder, broker, self._stream, changes))
        self._bad = [Outgoing(bad.value, bad.name.encode()) for bad in small_bad_records()]
        self._published = 0

    def __enter__(self) -> SoakRun:
        self._sidecar.__enter__()
        self._sidecar.wait_ready(READY_S)
        return self

    def __exit__(self, *raised: object) -> None:
        self._sidecar.__exit__(None, None, None)

    def saturated(self, seconds: float, warm_up: float) -> tuple[Growth, float]:
        """Growth and events per second, both after the warm-up."""
        process = self._sidecar.process()
        samples: list[tuple[float, int, Usage]] = []
        begun = shown = time.monotonic()
        while (now := time.monotonic()) - begun < seconds:
            done = self._done()
            samples.append((now - begun, done, Usage.of(process)))
            if now - shown >= _SHOW_S:
                shown = now
                self._say(f"  {now - begun:.0f} s: {done} events, {samples[-1][2]}")
            if self._published - done < _BACKLOG:
                self._publish(_BACKLOG)
            time.sleep(_SAMPLE_S)
        counted = samples[int(len(samples) * warm_up) :]
        (first_s, first, _), (last_s, last, _) = counted[0], counted[-1]
        return Growth.over([usage for *_, usage in samples], warm_up), (last - first) / (last_s - first_s)

    def below(self, per_s: float, seconds: float) -> Load:
        """Publishes `per_s` events a second; begins when nothing waits any more."""
        self._until(lambda: self._published <= self._done())
        before, begun, lags = self._published, time.monotonic(), list[int]()
        while (passed_s := time.monotonic() - begun) < seconds:
            lags.append(self._published - self._done())
            self._publish(int(passed_s * per_s) - (self._published - before))
            time.sleep(_STEP_S)
        published = self._published - before
        return Load(published / (time.monotonic() - begun), statistics.median(lags[len(lags) // 2 :]), max(lags))

    def recovery_s(self, outage_s: float) -> float:
        """Seconds from when the broker's port opens again to the commit of an event that is published then."""
        self._until(self._stream.all_committed)
        self._broker.kill()
        time.sleep(outage_s)
        self._broker.start()
        returned_at_s = time.monotonic()
        self._publish(3)
        self._until(self._stream.all_committed)
        return time.monotonic() - returned_at_s

    def usage(self) -> Usage:
        """What the sidecar holds now."""
        return Usage.of(self._sidecar.process())

    def _done(self) -> int:
        self._sidecar.check_alive()
        return int((self._sidecar.metric(EVENTS_DONE) or 0) + (self._sidecar.metric(DEAD_LETTERED) or 0))

    def _publish(self, count: int) -> None:
        if count > 0:
            numbers = range(self._published, self._published + count)
            self._stream.publish([self._record(number) for number in numbers])
            self._published += count

    def _record(self, number: int) -> Outgoing:
        if number % _BAD_EVERY == _BAD_EVERY - 1:
            return self._bad[number // _BAD_EVERY % len(self._bad)]
        return Outgoing(short_event("soak", number))

    def _until(self, condition: Callable[[], bool]) -> None:
        done, moved_at = self._done(), time.monotonic()
        while not condition():
            if (now := self._done()) > done:
                done, moved_at = now, time.monotonic()
            if time.monotonic() - moved_at > _STUCK_S:
                raise RuntimeError(f"no progress within {_STUCK_S:.0f} s\n{self._sidecar.tail()}")
            time.sleep(0.2)
