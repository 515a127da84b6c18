"""CalibrationEvent: traffic on which precisions are compared, labelled or not."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from monitor.errors import BadEvent, ConfigError
from monitor.events.event import Event, Origin, Record
from monitor.events.parse import parse
from monitor.sets.load import builtin_folder


@dataclass(frozen=True)
class CalibrationEvent:
    """An event; `label` is 1 if it is risky in its `category`, 0 if not, None if it is not labelled."""

    event: Event
    label: int | None = None
    category: str | None = None


def load_calibration_events(
    files: Iterable[Path] = (), limit: int = 1_000, lines_per_file: int | None = None
) -> list[CalibrationEvent]:
    """Events of JSONL files in any format that the sidecar reads, each perhaps with a `label` and a `category`.

    Without files, the labelled texts that ship with the feature sets. If there are more than `limit`, every n-th event
    of each label is taken, so that all files and both labels are included. Raises ConfigError with file and line if
    something cannot be read. Only the first `lines_per_file` lines of each file are looked at.
    """
    found: list[CalibrationEvent] = []
    files = list(files) or sorted((builtin_folder() / "contrasts").glob("*.jsonl"))
    for file in files:
        try:
            lines = file.read_bytes().split(b"\n")
        except OSError as e:
            raise ConfigError(f"{file}: cannot be read: {e.strerror}") from None
        for number, line in enumerate(lines[:lines_per_file], 1):
            if line.strip():
                found += _events(line, file, number)
    if not found:
        raise ConfigError(f"{', '.join(map(str, files))}: no events to compare precisions on")
    return _thinned(found, limit)


def _events(line: bytes, file: Path, number: int) -> list[CalibrationEvent]:
    try:
        events = parse(Record(line, Origin(file.name, 0, number)))
    except BadEvent as e:
        raise ConfigError(f"{file}:{number}: {e}") from None
    body = json.loads(line)
    label, category = body.get("label"), body.get("category")
    return [
        CalibrationEvent(event, label if label in (0, 1) else None, category if isinstance(category, str) else None)
        for event in events
    ]


def _thinned(events: Sequence[CalibrationEvent], limit: int) -> list[CalibrationEvent]:
    if len(events) <= limit:
        return list(events)
    # label by label: files hold pairs, and an even stride would pick the same side of all of them
    order = sorted(range(len(events)), key=lambda n: (events[n].label is None, events[n].label or 0))
    return [events[n] for n in sorted(order[n * len(events) // limit] for n in range(limit))]
