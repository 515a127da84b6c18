"""How long it takes from the publishing of an event until its alert is in Prometheus."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median

from monitor.demo.sample_events import demo_events
from monitor.demo.stack.prometheus import Prometheus
from monitor.demo.stack.stack import Stack
from monitor.errors import Permanent

ALERTS = "sum(latentwatch_alerts_total)"
_WAIT_S = 30.0
_TRY_S = 5.0
_STEP_S = 0.618
"""The pauses between events step through a second by this, so that the events don't keep step with the scrapes."""


@dataclass(frozen=True)
class Delays:
    """In seconds, of every event."""

    seconds: tuple[float, ...]

    def __str__(self) -> str:
        return f"median {median(self.seconds):.2f} s, longest {max(self.seconds):.2f} s, of {len(self.seconds)} events"


def measure(stack: Stack, prometheus: Prometheus, count: int) -> Delays:
    """Publishes `count` events that alert, one after the other, to a stack without other traffic.

    Raises Permanent if an alert does not arrive.
    """
    stack.until(lambda: bool(prometheus.query(ALERTS)), "the first scrape", _WAIT_S)
    event = _event_that_alerts(stack, prometheus)
    delays = []
    for n in range(count):
        time.sleep(n * _STEP_S % 1)
        delays.append(_delay(stack, prometheus, event, f"measured-{time.time_ns():x}-{n}", _WAIT_S))
    return Delays(tuple(delays))


def _delay(stack: Stack, prometheus: Prometheus, event: bytes, event_id: str, timeout_s: float) -> float:
    before = _alerts(prometheus)
    started = time.monotonic()
    stack.traffic.send_again(event, event_id)
    stack.until(lambda: _alerts(prometheus) > before, "the alert of an event in Prometheus", timeout_s)
    return time.monotonic() - started


def _event_that_alerts(stack: Stack, prometheus: Prometheus) -> bytes:
    for event in demo_events():
        if event.label.kind == "risky":
            try:
                _delay(stack, prometheus, event.value, f"tried-{time.time_ns():x}", _TRY_S)
            except Permanent:
                continue
            return event.value
    raise Permanent("no sample event raises an alert")


def _alerts(prometheus: Prometheus) -> float:
    return sum(series.value for series in prometheus.query(ALERTS))
