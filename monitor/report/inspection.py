"""Inspection: how a record is understood, segment by segment, and what of it nothing reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from detectors.feature_set import SegmentName
from monitor.errors import BadEvent
from monitor.events.context import Context
from monitor.events.envelopes.confluent import NO_SCHEMAS, Schemas, schema_ids
from monitor.events.event import Event, EventLimits, Origin, Record
from monitor.events.event_format import EventFormat
from monitor.events.formats import native
from monitor.events.json_object import JsonObject
from monitor.events.parse import UNRECOGNISED, parse_records
from monitor.events.unread_range import UnreadRange
from monitor.report.left_out import LeftOut, left_out
from monitor.tokens.chat_template import segment_of

WHY_UNREAD: Mapping[str, str] = {
    "image": "a picture holds no text",
    "audio": "sound without a transcript",
    "video": "a film holds no text",
    "file": "a file that is not plain text",
    "encrypted": "the provider encrypted it",
    "tokens": "token ids of another model",
}
WHY_REPAIRED: Mapping[str, str] = {
    "number": "NaN, infinity or too large; read as null",
    "surrogate": "half a character; replaced by U+FFFD",
    "role": "a role that is not known; the segment is other",
}
_START_CHARS = 200


@dataclass(frozen=True)
class InspectedSegment:
    """One turn or the response. `read_by` are the ids of the feature sets that look at it."""

    name: SegmentName
    index: int
    role: str
    text: str
    read_by: tuple[str, ...]


@dataclass(frozen=True)
class InspectedEvent:
    """An event and its segments, in order."""

    event: Event
    segments: tuple[InspectedSegment, ...]


@dataclass(frozen=True)
class Inspection:
    """How one record is understood. `bad` says why it, or a part of it, is refused."""

    origin: Origin
    formats: tuple[str, ...]
    envelopes: tuple[str, ...]
    events: tuple[InspectedEvent, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    bad: tuple[BadEvent, ...] = ()

    def to_json(self, with_text: bool) -> dict[str, Any]:
        """For machines. Texts are cut to their first characters, or not there at all."""
        origin = self.origin
        return {
            "topic": origin.topic,
            "partition": origin.partition,
            "offset": origin.offset,
            "formats": list(self.formats),
            "envelopes": list(self.envelopes),
            "events": [_event_json(item, with_text) for item in self.events],
            "left_out": [
                {"path": item.path, "why": item.why, **_text_json(item.text, with_text)} for item in self.left_out
            ],
            "bad": [{"kind": fault.kind, "path": fault.path, "why": fault.reason} for fault in self.bad],
        }


@dataclass(frozen=True)
class Inspector:
    """Parses records as the sidecar does. `readers` has the ids of the sets that look at a segment, by its name."""

    limits: EventLimits
    body_format: str | EventFormat
    readers: Mapping[str, tuple[str, ...]]
    schemas: Schemas | None = None

    def inspect(self, record: Record) -> Inspection:
        """How `record` is understood by itself. Raises Retryable if the schema registry is down."""
        seen: dict[str, tuple[str, JsonObject, Context]] = {}  # by path: a body may be read a second time
        ids = schema_ids((record,))
        decoders = self.schemas.decoders(ids) if self.schemas is not None and ids else NO_SCHEMAS
        parsed = parse_records(
            (record,),
            self.limits,
            self.body_format,
            decoders,
            lambda name, body, context: seen.update({context.path: (name, body, context)}),
        )
        bodies, events = tuple(seen.values()), parsed.events
        known = [body for body in bodies if body[0] != UNRECOGNISED or native.recognises(body[1])]
        faults = parsed.faults.get(record.origin)
        return Inspection(
            record.origin,
            _formats(known),
            _envelopes(record, bodies),
            tuple(InspectedEvent(event, tuple(self._segments(event))) for event in events),
            tuple(_left_out(bodies, events)) if events else (),
            (faults.as_one(bool(events)),) if faults else (),
        )

    def _segments(self, event: Event) -> Iterator[InspectedSegment]:
        turns: list[tuple[SegmentName, str, str]] = [(segment_of(m.role), m.role, m.content) for m in event.messages]
        sent = None if event.activations is None else event.activations.segments
        if sent is not None and not turns and not event.response:  # nothing is known of their text
            turns = [("response" if s.role == "response" else segment_of(s.role), s.role, "") for s in sent]
        if event.response:
            turns.append(("response", "assistant", event.response))
        counts: Counter[str] = Counter()
        for name, role, text in turns:
            yield InspectedSegment(name, counts[name], role, text, self.readers.get(name, ()))
            counts[name] += 1


def of_unread(unread: UnreadRange) -> Inspection:
    """Offsets of a topic that can't be read."""
    origin = Origin(unread.topic, unread.partition, unread.first_offset)
    return Inspection(origin, (), (), bad=(BadEvent(str(unread), kind="unreadable"),))


def _formats(bodies: Sequence[tuple[str, JsonObject, Context]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name, _, _ in bodies))


def _envelopes(record: Record, bodies: Sequence[tuple[str, JsonObject, Context]]) -> tuple[str, ...]:
    framed = ("a schema registry's frame",) if (record.value or b"")[:1] == b"\0" else ()
    return (*framed, *dict.fromkeys(name for _, _, context in bodies for name in context.opened))


def _left_out(bodies: Sequence[tuple[str, JsonObject, Context]], events: Sequence[Event]) -> Iterator[LeftOut]:
    segments = [text for event in events for text in (*(m.content for m in event.messages), event.response) if text]
    used = [text for event in events for text in (event.id.split("#")[0], event.model, event.traceparent) if text]
    used += [message.role for event in events for message in event.messages]
    used += [value for event in events for value in event.attributes.values() if isinstance(value, str)]
    for name, body, context in bodies:
        if name == "activations":  # what else is in there are numbers
            continue
        why = "no path of the mapping leads there" if name == "mapping" else f"the format {name} does not read it"
        yield from left_out(body, context.path, segments, used, why)


def _event_json(item: InspectedEvent, with_text: bool) -> dict[str, Any]:
    event = item.event
    return {
        "id": event.id,
        "time": None if event.time is None else event.time.isoformat(),
        "model": event.model,
        "attributes": {
            name: value[:_START_CHARS] if isinstance(value, str) else value
            for name, value in event.attributes.items()
            if isinstance(value, str | int | float)
        },
        "segments": [
            {
                "segment": segment.name,
                "index": segment.index,
                "role": segment.role,
                "read_by": list(segment.read_by),
                **_text_json(segment.text, with_text),
            }
            for segment in item.segments
        ],
        "unread": dict(event.unread),
        "repaired": dict(event.repaired),
    }


def _text_json(text: str, with_text: bool) -> dict[str, Any]:
    return {"characters": len(text), **({"text": text[:_START_CHARS]} if with_text else {})}
