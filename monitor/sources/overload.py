"""Overload: which events are read when they come faster than they can be."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Sequence

from monitor.config.overload import OverloadConfig
from monitor.events.event import Event

_log = logging.getLogger(__name__)

OVERLOAD = "overload"
"""The name under which skipped events are counted, next to the names of rules."""


class Overload:
    """Begins when too many records wait, or one has waited too long; ends when both are down to half.

    While it lasts, a share of each batch is read. The share is divided between tenants like water between glasses: a
    tenant with few events keeps all of them if its equal part suffices, and what it doesn't need goes to the others.
    Of one tenant's events, a hash of their ids chooses.
    """

    def __init__(self, config: OverloadConfig, tenant_of: Callable[[Event], str | None]) -> None:
        self._lag = math.inf if config.lag is None else config.lag
        self._age_s = math.inf if config.age_s is None else config.age_s
        self._sampling = 1.0 if config.sampling is None else config.sampling
        self._tenant_of = tenant_of
        self.reason = ""
        """Why events are skipped; empty if none are."""

    @property
    def sampling(self) -> float:
        """The share that is read during an overload."""
        return self._sampling

    def update(self, lag: int | None, age_s: float | None) -> None:
        """What waits now: how many records, and for how long the oldest; None if that is not known."""
        share = 0.5 if self.reason else 1.0
        reasons = []
        if lag is not None and lag > share * self._lag:
            reasons.append(f"{lag} records wait (overload.lag: {self._lag})")
        if age_s is not None and age_s > share * self._age_s:
            reasons.append(f"the oldest record is {age_s:.0f} s old (overload.age_s: {self._age_s:g})")
        if bool(reasons) != bool(self.reason):
            if reasons:
                _log.warning("overload: %s; reading %g of the events", " and ".join(reasons), self._sampling)
            else:
                _log.info("overload: over; reading all events")
        self.reason = " and ".join(reasons)

    def chosen(self, events: Sequence[Event]) -> set[int]:
        """The places in `events` of those that are read: all, unless there is an overload."""
        if not self.reason:
            return set(range(len(events)))
        by_tenant: dict[str | None, list[int]] = {}
        for place, event in enumerate(events):
            by_tenant.setdefault(self._tenant_of(event), []).append(place)
        budget = math.ceil(self._sampling * len(events))
        chosen: set[int] = set()
        # the one with the fewest first: what it leaves is for the others
        for left, places in enumerate(sorted(by_tenant.values(), key=len), start=-len(by_tenant)):
            part = min(len(places), math.ceil((budget - len(chosen)) / -left))
            chosen.update(sorted(places, key=lambda place: _hash(events[place]))[:part])
        return chosen


def _hash(event: Event) -> bytes:
    return hashlib.sha256(event.id.encode("utf-8", "surrogatepass")).digest()
