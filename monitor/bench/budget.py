"""Budget: shares out the time that a benchmark may take, so that it ends in time on any machine."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping


class Slice:
    """The time of one measurement, from the moment that it begins."""

    def __init__(self, seconds: float = math.inf, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends_at_s = clock() + seconds

    @property
    def left_s(self) -> float:
        """Seconds until it ends, at least 0; infinite without a limit."""
        return max(0.0, self._ends_at_s - self._clock())

    def part(self, share: float) -> Slice:
        """A slice that begins now and gets that share of what is left."""
        return Slice(self.left_s * share, self._clock)

    def fits(self, count: int, each_s: float) -> int:
        """How many of `count` runs of `each_s` seconds fit into what is left; at least one."""
        if each_s <= 0 or math.isinf(self.left_s):
            return count
        return max(1, min(count, int(self.left_s / each_s)))


class Budget:
    """Seconds for named measurements. What one of them does not use goes to those after it."""

    def __init__(
        self,
        seconds: float,
        weights: Mapping[str, float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`weights` are the shares of the measurements that are still to come, in any unit."""
        self._whole = Slice(seconds, clock)
        self._weights = dict(weights)

    def begin(self, name: str) -> Slice:
        """The slice of a measurement that begins now."""
        weight = self._weights.pop(name)
        rest = sum(self._weights.values())
        return self._whole.part(weight / (weight + rest) if rest else 1.0)

    def drop(self, *names: str) -> None:
        """These measurements will not be made."""
        for name in names:
            del self._weights[name]
