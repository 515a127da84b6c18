"""DeadLetterSource: dead letters as the records that they were."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence

from monitor.errors import BadEvent
from monitor.events.event import Origin, Record
from monitor.events.unread_range import UnreadRange
from monitor.sources.source import Source
from monitor.sources.wrapped import WrappedSource

_NULL = "latentwatch-value"
_UNREAD = "latentwatch-unread"
_CUT = "latentwatch-original-bytes"
_ADDED = frozenset(
    f"latentwatch-{name}"
    for name in (
        *("reason", "path", "topic", "partition", "offset", "time", "value"),
        *("unread", "last-offset", "original-bytes", "original-sha256", "dropped"),
    )
)


class DeadLetterSource(WrappedSource):
    """A Source of the records that dead letters stand for, with their own origin, so that they make the same alerts.

    `rest` hands out the dead letters: from their topic, or lines of a file. Those that hold no whole record are not
    handed out; `refuse` is told of them.
    """

    def __init__(self, rest: Source, of_file: bool, refuse: Callable[[Record, BadEvent], None]) -> None:
        super().__init__(rest)
        self._restored = _of_line if of_file else _of_letter
        self._refuse = refuse

    def poll(self) -> Sequence[Record | UnreadRange]:
        """The next records."""
        found: list[Record | UnreadRange] = []
        for letter in self._rest.poll():
            if isinstance(letter, UnreadRange):
                found.append(letter)
                continue
            try:
                found.append(self._restored(letter))
            except BadEvent as e:
                self._refuse(letter, e)
        return found


def _of_letter(letter: Record) -> Record:
    """Raises BadEvent if the record is not in it."""
    topic, partition, offset = (letter.header(f"latentwatch-{name}") for name in ("topic", "partition", "offset"))
    if topic is None or not (partition or "").isdecimal() or not (offset or "").isdecimal():
        raise BadEvent("no dead letter of latentwatch: it does not say where it came from")
    origin = Origin(topic, int(partition or 0), int(offset or 0))
    if letter.header(_UNREAD) is not None:
        last = letter.header("latentwatch-last-offset") or origin.offset
        raise _elsewhere("the records could not be read, so they are not in it", origin, last)
    if letter.header(_CUT) is not None:
        raise _elsewhere("the record was too large, so only its beginning is in it", origin, origin.offset)
    headers = tuple((name, value) for name, value in letter.headers if name not in _ADDED)
    value = None if letter.header(_NULL) == "null" else letter.value
    return Record(value, origin, letter.key, headers, letter.time_ms)


def _elsewhere(reason: str, origin: Origin, last: object) -> BadEvent:
    return BadEvent(
        f"{reason}; if {origin.topic} still has it: latentwatch replay --offsets "
        f"{origin.partition}:{origin.offset}-{last}"
    )


def _of_line(line: Record) -> Record:
    """Raises BadEvent if the line is not one that `scan --bad` writes."""
    try:
        row = json.loads(line.value or b"")
        value = row["value_base64"]
        raw = None if value is None else base64.b64decode(value, validate=True)
        origin = Origin(str(row["topic"]), int(row["partition"]), int(row["offset"]))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, binascii.Error):
        raise BadEvent("not a line that `scan --bad` or http.bad_events_path writes") from None
    return Record(raw, origin)
