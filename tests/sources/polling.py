"""What tests of the Kafka source share: how one is opened, and polled until enough came."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from monitor.events.event import Record
from monitor.events.unread_range import UnreadRange
from monitor.sources.kafka import KafkaSource

Open = Callable[..., KafkaSource]


def take(source: KafkaSource, count: int, timeout_s: float = 20.0) -> list[Record]:
    """Polls until `count` records came."""
    found: list[Record] = []
    give_up_at = time.monotonic() + timeout_s
    while len(found) < count and time.monotonic() < give_up_at:
        found.extend(item for item in source.poll() if isinstance(item, Record))
    return found


def take_all(source: KafkaSource, timeout_s: float = 20.0) -> list[Record | UnreadRange]:
    """Polls until nothing is left to read."""
    found: list[Record | UnreadRange] = []
    give_up_at = time.monotonic() + timeout_s
    while source.lag() != 0 and time.monotonic() < give_up_at:
        found.extend(source.poll())
    return found


def values(records: Sequence[Record | UnreadRange]) -> list[bytes | None]:
    """The values of the records; unread ranges have none."""
    return [record.value for record in records if isinstance(record, Record)]
