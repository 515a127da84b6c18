"""Context: what a record says about its event outside the body."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from monitor.events.event import Origin, Record
from monitor.events.event_time import read_time
from monitor.events.faults import Faults

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True)
class Context:
    """The record that a body came in, where the body is in it, and the attributes of its envelope.

    `attributes` are those of an envelope that an event can use: id, type, source, time and traceparent, as text.
    """

    record: Record
    path: str = "$"
    """JSON path of the body."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    suffix: str = ""
    """Tells apart the bodies of a record that have no ids of their own."""
    opened: tuple[str, ...] = ()
    """The envelopes around the body, the outermost first."""
    repaired: Counter[str] = field(default_factory=Counter)
    """What was replaced while the record was read, by kind."""
    faults: Faults = field(default_factory=Faults)
    """What can't be read of the record, next to what can."""
    joined: tuple[Origin, ...] = ()
    """The other records that hold parts of the body."""

    def time(self) -> datetime | None:
        """When the envelope was made."""
        return read_time(self.attributes.get("time"))

    def fallback_id(self) -> str:
        """The envelope's id, or else topic, partition and offset."""
        origin = self.record.origin
        return (self.attributes.get("id") or f"{origin.topic}-{origin.partition}-{origin.offset}") + self.suffix

    def traceparent(self, of_body: object) -> str | None:
        """The first valid W3C traceparent of Kafka header, envelope and body. A broken one counts as none."""
        for value in (self.record.header("traceparent"), self.attributes.get("traceparent"), of_body):
            if isinstance(value, str) and _TRACEPARENT.fullmatch(value):
                return value
        return None
