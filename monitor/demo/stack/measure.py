"""How long it takes from the publishing of an event until its alert is in Prometheus and on the review page."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from statistics import median

from monitor.demo.stack.stack import Stack

_ALERTS = "sum(latentwatch_alerts_total)"
_WAIT_S = 30.0
_STEP_S = 0.618
"""The pauses between events step through a second by this, so that the events don't keep step with the scrapes."""


def measure(stack: Stack, count: int) -> dict[str, list[float]]:
    """Publishes `count` canaries, one after the other, to a stack without other traffic.

    Returns the seconds of each, by where the alert arrived. Raises Permanent if one does not arrive.
    """
    places = _places(stack)
    seconds: dict[str, list[float]] = {place: [] for place in places}
    for n in range(count):
        time.sleep(n * _STEP_S % 1)
        before = {place: alerts() for place, alerts in places.items()}
        started = time.monotonic()
        stack.traffic.send_canary(f"measured-{n}")
        stack.until(partial(_arrived, places, before, started, seconds), "the alert of an event", _WAIT_S)
    return seconds


def told(seconds: Mapping[str, list[float]]) -> list[str]:
    """A line for each place."""
    return [
        f"{place}: median {median(each):.2f} s, longest {max(each):.2f} s, of {len(each)} events"
        for place, each in seconds.items()
    ]


def _places(stack: Stack) -> dict[str, Callable[[], float]]:
    prometheus, review, phoenix = stack.prometheus, stack.review, stack.phoenix
    places: dict[str, Callable[[], float]] = {}
    if prometheus is not None:
        stack.until(lambda: bool(prometheus.query(_ALERTS)), "the first scrape", _WAIT_S)
        places["Prometheus"] = lambda: sum(series.value for series in prometheus.query(_ALERTS))
    if review is not None:
        places["Review page"] = lambda: float(review.newest())
    if phoenix is not None:
        places["Phoenix"] = lambda: float(phoenix.alerts())
    return places


def _arrived(
    places: Mapping[str, Callable[[], float]],
    before: dict[str, float],
    started: float,
    seconds: Mapping[str, list[float]],
) -> bool:
    """Notes the time of each place that has the alert now; true once none waits any more."""
    for place in [place for place in before if places[place]() > before[place]]:
        seconds[place].append(time.monotonic() - started)
        del before[place]
    return not before
