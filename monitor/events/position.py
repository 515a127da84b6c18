"""Position: where a source is in one partition."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Position:
    """One partition that a source reads. None stands for what is not known yet."""

    topic: str
    partition: int
    offset: int | None
    """Of the next record that the source hands out."""
    end: int | None
    """Offset that the next record written to the partition gets."""

    @property
    def lag(self) -> int | None:
        """Records that the source has not handed out yet."""
        return None if self.offset is None or self.end is None else max(0, self.end - self.offset)
