"""SampleTraffic: the demo's events again and again, each with a new id, from several tenants."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Protocol

from monitor.demo.sample_events import demo_events

TENANTS = ("acme", "globex", "initech")
CANARY_TENANT = "latentwatch-canary"
"""The rule LatentwatchCanarySilent knows it."""
_CANARY = "demo-0019"
"""A sample event that is far above the threshold of its set."""
_CYCLE = 100
_CANARIES = (5, 30, 55, 80)
_BAD = 40


class Publisher(Protocol):
    """Where the records go."""

    def publish(self, topic: str, records: Sequence[tuple[str, bytes]]) -> object:
        """Publishes (key, value) records, and returns once the broker has them."""


class SampleTraffic:
    """Publishes to `topic`. Of a hundred records, four are canaries, and one is no valid event."""

    def __init__(self, topics: Publisher, topic: str, start: str) -> None:
        """`start` tells the ids of one run from those of another."""
        self._topics = topics
        self._topic = topic
        self._start = start
        self._samples = {event.id: event.value for event in demo_events()}
        self._records = self._endless()

    def send(self, count: int = 1) -> None:
        """Publishes the next records, and returns once the broker has them."""
        self._topics.publish(self._topic, list(itertools.islice(self._records, count)))

    def send_canary(self, name: str) -> None:
        """Publishes an event that raises an alert; `name` makes its id its own."""
        self._topics.publish(self._topic, [self._record(_CANARY, name, CANARY_TENANT)])

    def _endless(self) -> Iterator[tuple[str, bytes]]:
        samples = list(self._samples)
        for n in itertools.count():
            if n % _CYCLE == _BAD:
                yield f"{self._start}-{n}", b'{"id": "not an event"'
            elif n % _CYCLE in _CANARIES:
                yield self._record(_CANARY, str(n), CANARY_TENANT)
            else:
                yield self._record(samples[n % len(samples)], str(n), TENANTS[n % len(TENANTS)])

    def _record(self, sample: str, name: str, tenant: str) -> tuple[str, bytes]:
        body = json.loads(self._samples[sample])
        body["id"] = f"{self._start}-{name}"
        body.pop("time", None)  # of the day on which the samples were written
        body["attributes"] = {**body.get("attributes", {}), "tenant": tenant}
        return body["id"], json.dumps(body).encode()
