"""UnreadRange: offsets of a partition whose records could not be read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from monitor.errors import BadEvent
from monitor.events.event import Origin, Record

UnreadKind = Literal["codec", "corrupt", "size", "deleted"]


@dataclass(frozen=True)
class UnreadRange:
    """Takes the place of records that cannot be had; both offsets are part of the range.

    `kind` is one of a few words fit for a metric's label: a compression codec that is unknown or not installed,
    a damaged batch, a batch that grows too large when unpacked, or records that were deleted before they were read.
    """

    topic: str
    partition: int
    first_offset: int
    last_offset: int
    kind: UnreadKind
    reason: str

    @property
    def offsets(self) -> int:
        """How many offsets it spans. A compacted topic may hold fewer records."""
        return self.last_offset - self.first_offset + 1

    def dead_letter(self) -> tuple[Record, BadEvent]:
        """What goes to the dead-letter topic: the place and the reason, without bytes."""
        headers = (
            ("latentwatch-unread", self.kind.encode()),
            ("latentwatch-last-offset", str(self.last_offset).encode()),
        )
        origin = Origin(self.topic, self.partition, self.first_offset)
        return Record(None, origin, headers=headers), BadEvent(self.reason, kind="unreadable")

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition} offsets {self.first_offset} to {self.last_offset}: {self.reason}"
