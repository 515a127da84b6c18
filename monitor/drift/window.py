"""Window: a range of time over snapshots; and the snapshots of a window or a file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from monitor.config.sections import Config
from monitor.drift.snapshot import SetSnapshot, parse_snapshot
from monitor.errors import ConfigError
from monitor.events.event import Record

_MAX_LINE_BYTES = 16_777_216


@dataclass(frozen=True)
class Window:
    """From `start` on and before `end`."""

    start: datetime
    end: datetime

    @classmethod
    def parse(cls, text: str, option: str) -> Window:
        """Reads START/END; a time without a zone is in UTC. Raises ConfigError."""
        parts = text.split("/")
        try:
            start, end = (_time(part) for part in parts)
        except ValueError:
            raise ConfigError(
                f"{option}: {text!r} is neither a file nor a window such as 2026-11-01T00:00/2026-11-08T00:00"
            ) from None
        if end <= start:
            raise ConfigError(f"{option}: {text!r} ends before it begins")
        return cls(start, end)

    def holds(self, snapshot: SetSnapshot) -> bool:
        """Whether the snapshot lies in it from its start to its end."""
        return self.start <= snapshot.start and snapshot.end <= self.end

    def cuts(self, snapshot: SetSnapshot) -> bool:
        """Whether a part of the snapshot lies in it, but not all of it."""
        return snapshot.start < self.end and self.start < snapshot.end and not self.holds(snapshot)


@dataclass(frozen=True)
class Traffic:
    """The snapshots of one side of a comparison."""

    name: str
    snapshots: tuple[SetSnapshot, ...]
    cut: int = 0
    """Snapshots that were left out because only a part of them lies in the window."""


def read_file(path: Path) -> list[SetSnapshot]:
    """The snapshots in a file, one a line. Raises ConfigError with every line that is wrong, up to ten."""
    found, problems = [], list[str]()
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(_MAX_LINE_BYTES):
                number += 1
                if not line.strip():
                    continue
                try:
                    found.append(parse_snapshot(line, f"{path}:{number}"))
                except ConfigError as e:
                    problems += e.problems
                    if len(problems) >= 10:
                        break
    except OSError as e:
        raise ConfigError(f"{path}: cannot be read: {e.strerror}") from None
    if problems:
        raise ConfigError(problems)
    return found


def read_topic(config: Config, topic: str) -> list[SetSnapshot]:
    """The snapshots in a topic, from its beginning to where it ends now. Raises ConfigError, Retryable or Permanent."""
    from monitor.sources.topic_sample import TopicSample

    found = []
    source = TopicSample(config.kafka, config.source, topic)
    try:
        while not source.exhausted:
            for item in source.poll():
                if isinstance(item, Record) and item.value is not None:
                    found.append(parse_snapshot(item.value, f"{topic}:{item.origin.partition}:{item.origin.offset}"))
    finally:
        source.close()
    return found


def in_window(name: str, window: Window, snapshots: Iterable[SetSnapshot]) -> Traffic:
    """The snapshots in a window."""
    known = _without_repeats(snapshots)
    return Traffic(name, tuple(filter(window.holds, known)), sum(map(window.cuts, known)))


def all_of(name: str, snapshots: Iterable[SetSnapshot]) -> Traffic:
    """All of them."""
    return Traffic(name, tuple(_without_repeats(snapshots)))


def _without_repeats(snapshots: Iterable[SetSnapshot]) -> list[SetSnapshot]:
    """A line that was delivered twice counts once."""
    return list({snapshot.key: snapshot for snapshot in snapshots}.values())


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
