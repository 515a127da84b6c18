"""received: what the Kafka client hands out, as a Record."""

from __future__ import annotations

from typing import Any

from monitor.events.event import Origin, Record
from monitor.events.unread_range import UnreadRange


def received(item: Any) -> Record | UnreadRange:
    """The client's record as ours; an UnreadRange comes as the value of one."""
    if isinstance(item.value, UnreadRange):
        return item.value
    return Record(
        value=item.value,
        key=item.key,
        headers=tuple((name, value if value is not None else b"") for name, value in item.headers or ()),
        origin=Origin(item.topic, item.partition, item.offset),
        time_ms=item.timestamp,
    )
