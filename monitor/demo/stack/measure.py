"""How long it takes from the publishing of an event until its alert is in Prometheus."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median

from monitor.demo.stack.prometheus import Prometheus
from monitor.demo.stack.stack import Stack

ALERTS = "sum(latentwatch_alerts_total)"
_WAIT_S = 30.0
_STEP_S = 0.618
"""The pauses between events step through a second by this, so that the events don't keep step with the scrapes."""


@dataclass(frozen=True)
class Delays:
    """In seconds, of every event."""

    seconds: tuple[float, ...]

    def __str__(self) -> str:
        return f"median {median(self.seconds):.2f} s, longest {max(self.seconds):.2f} s, of {len(self.seconds)} events"


def measure(stack: Stack, prometheus: Prometheus, count: int) -> Delays:
    """Publishes `count` canaries, one after the other, to a stack without other traffic.

    Raises Permanent if an alert does not arrive.
    """
    stack.until(lambda: bool(prometheus.query(ALERTS)), "the first scrape", _WAIT_S)
    delays = []
    for n in range(count):
        time.sleep(n * _STEP_S % 1)
        before = _alerts(prometheus)
        started = time.monotonic()
        stack.traffic.send_canary(f"measured-{n}")
        _wait_for_more(stack, prometheus, before)
        delays.append(time.monotonic() - started)
    return Delays(tuple(delays))


def _wait_for_more(stack: Stack, prometheus: Prometheus, before: float) -> None:
    stack.until(lambda: _alerts(prometheus) > before, "the alert of an event in Prometheus", _WAIT_S)


def _alerts(prometheus: Prometheus) -> float:
    return sum(series.value for series in prometheus.query(ALERTS))
