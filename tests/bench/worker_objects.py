"""A stand-in for a reader in a benchmark's worker process, which ends that process on request."""

from __future__ import annotations

import os
from collections.abc import Sequence

from monitor.bench.readers import Repetition
from monitor.events.event import Event


class DyingReader:
    """A reader whose process dies in the `call`-th call of `method`."""

    def __init__(self, method: str = "", call: int = 1) -> None:
        self._method = method
        self._left = call

    def run(self, events: Sequence[Event], single: bool = False) -> Repetition:
        self._live("run")
        return Repetition(0.5, 0.25, (0.5,) * len(events), 12.0)

    def padding(self, events: Sequence[Event]) -> float:
        self._live("padding")
        return 0.0

    def peak(self) -> float:
        self._live("peak")
        return 34.0

    def rates(self) -> dict[str, float]:
        self._live("rates")
        return {"fp32": 2e9}

    def _live(self, method: str) -> None:
        if method == self._method:
            self._left -= 1
            if self._left == 0:
                os._exit(7)
