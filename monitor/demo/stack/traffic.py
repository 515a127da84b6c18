"""SampleTraffic: the demo's events again and again, each with a new id, from several tenants."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence

from monitor.demo.sample_events import demo_events
from monitor.demo.topics import DemoTopics

TENANTS = ("acme", "globex", "initech")
_BAD_EVERY = 100


class SampleTraffic:
    """Publishes to `topic`. One record in a hundred is no valid event, so that there are dead letters too."""

    def __init__(self, topics: DemoTopics, topic: str, start: str) -> None:
        self._topics = topics
        self._topic = topic
        self._records = _records(start)

    def send(self, count: int = 1) -> list[str]:
        """Publishes the next records; returns their ids once the broker has them."""
        records = list(itertools.islice(self._records, count))
        self._topics.publish(self._topic, records)
        return [key for key, _ in records]

    def send_again(self, event: bytes, event_id: str) -> None:
        """Publishes one event under an id of its own."""
        self._topics.publish(self._topic, [(event_id, _renamed(event, event_id, TENANTS[0]))])


def _records(start: str) -> Iterator[tuple[str, bytes]]:
    """`start` tells the ids of one run from those of another."""
    events: Sequence[bytes] = [event.value for event in demo_events()]
    for n in itertools.count():
        key = f"{start}-{n}"
        if n % _BAD_EVERY == _BAD_EVERY // 2:
            yield key, b'{"id": "not an event"'
        else:
            yield key, _renamed(events[n % len(events)], key, TENANTS[n % len(TENANTS)])


def _renamed(event: bytes, event_id: str, tenant: str) -> bytes:
    body = json.loads(event)
    body["id"] = event_id
    body.pop("time", None)  # of the day on which the samples were written
    body["attributes"] = {**body.get("attributes", {}), "tenant": tenant}
    return json.dumps(body).encode()
