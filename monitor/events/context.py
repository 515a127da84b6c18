"""Context: what a record says about its event outside the body."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from monitor.errors import BadEvent
from monitor.events.event import Record

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True)
class Context:
    """The record that a body came in, where the body is in it, and the attributes of its envelope.

    `attributes` holds those that an event can use: id, source, time and traceparent, as text.
    """

    record: Record
    path: str = "$"
    """JSON path of the body."""
    attributes: Mapping[str, str] = field(default_factory=dict)

    def time(self) -> datetime | None:
        """The envelope's time, if it has one. Raises BadEvent if it is not an RFC 3339 time."""
        value = self.attributes.get("time")
        return None if value is None else rfc3339(value, "$.time")

    def traceparent(self, of_body: str | None) -> str | None:
        """The first valid W3C traceparent: of the Kafka header, the envelope or the body. Invalid ones are skipped."""
        for value in (self.record.header("traceparent"), self.attributes.get("traceparent"), of_body):
            if value is not None and _TRACEPARENT.fullmatch(value):
                return value
        return None


def rfc3339(value: str, path: str) -> datetime:
    """The time, in UTC if it has no offset. Raises BadEvent naming `path`."""
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        raise BadEvent("not an RFC 3339 time", path) from None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
