"""TopicRange: which part of a topic is read again, as a user writes it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from monitor.errors import ConfigError

_OFFSETS = re.compile(r"(\d{1,9}):(\d{1,18})-(\d{1,18})")


@dataclass(frozen=True)
class TopicRange:
    """The whole topic if nothing is given; otherwise what every given limit leaves."""

    from_end: int | None = None
    """At most this many offsets before the end of each partition."""
    from_ms: int | None = None
    """Nothing older, as Unix time."""
    to_ms: int | None = None
    """Only what is older than this, as Unix time."""
    offsets: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    """First and last offset by partition; other partitions are not read. Both offsets are part of the range."""

    @classmethod
    def of_options(cls, start: str | None, end: str | None, offsets: Sequence[str]) -> TopicRange:
        """The range of --from, --to and --offsets. Raises ConfigError with every problem."""
        problems: list[str] = []
        times = []
        for option, text in (("--from", start), ("--to", end)):
            try:
                times.append(None if text is None else _unix_ms(text))
            except ValueError:
                times.append(None)
                problems.append(f"{option}: {text!r} is not a time such as 2026-11-30T14:00:00Z")
        if None not in times and times[0] >= times[1]:  # type: ignore[operator]
            problems.append("--to: is not later than --from")
        wanted: dict[int, tuple[int, int]] = {}
        for text in offsets:
            found = _OFFSETS.fullmatch(text)
            if found is None or int(found[2]) > int(found[3]):
                problems.append(f"--offsets: {text!r} is not PARTITION:FIRST-LAST, such as 0:1200-1300")
            elif int(found[1]) in wanted:
                problems.append(f"--offsets: partition {found[1]} is given twice")
            else:
                wanted[int(found[1])] = int(found[2]), int(found[3])
        if wanted and (start is not None or end is not None):
            problems.append("--offsets: can't be combined with --from and --to")
        if problems:
            raise ConfigError(problems)
        return cls(None, times[0], times[1], wanted)


WHOLE_TOPIC = TopicRange()


def _unix_ms(text: str) -> int:
    time = datetime.fromisoformat(text)
    return int((time if time.tzinfo is not None else time.replace(tzinfo=UTC)).timestamp() * 1000)
