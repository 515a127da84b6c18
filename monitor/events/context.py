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
    """The record that a body came in, where in it the body is, and what its envelopes say.

    `attributes` are those of an envelope that an event can use: id, source, time and traceparent, as text.
    """

    record: Record
    path: str = "$"
    """JSON path of the body."""
    attributes: Mapping[str, str] = field(default_factory=dict)

    def time(self) -> datetime | None:
        """When the envelope was made. Raises BadEvent if it says so badly."""
        value = self.attributes.get("time")
        return None if value is None else rfc3339(value, "$.time")

    def traceparent(self, of_body: str | None) -> str | None:
        """The first valid W3C traceparent of Kafka header, envelope and body. A broken one counts as none."""
        for value in (self.record.header("traceparent"), self.attributes.get("traceparent"), of_body):
            if value is not None and _TRACEPARENT.fullmatch(value):
                return value
        return None


def rfc3339(value: str, path: str) -> datetime:
    """The time in UTC or with its own offset. Raises BadEvent naming `path`."""
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        raise BadEvent("not an RFC 3339 time", path) from None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
