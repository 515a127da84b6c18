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


def lag(source: KafkaSource) -> int | None:
    """Records of all its partitions that a source has not handed out; None if that of one is unknown."""
    found = source.positions()
    lags = [place.lag for place in found or ()]
    known = [one for one in lags if one is not None]
    return None if found is None or len(known) < len(lags) else sum(known)


def take_all(source: KafkaSource, timeout_s: float = 20.0) -> list[Record | UnreadRange]:
    """Polls until nothing is left to read."""
    found: list[Record | UnreadRange] = []
    give_up_at = time.monotonic() + timeout_s
    while lag(source) != 0 and time.monotonic() < give_up_at:
        found.extend(source.poll())
    return found


def values(records: Sequence[Record | UnreadRange]) -> list[bytes | None]:
    """The values of the records; unread ranges have none."""
    return [record.value for record in records if isinstance(record, Record)]
