"""Parse: the events in a record, in any known format and envelope."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from detectors.registry import Registry
from monitor.errors import BadEvent
from monitor.events.bodies import Body, bodies
from monitor.events.context import Context
from monitor.events.envelopes.confluent import NO_SCHEMAS, Decoder, frame, without_frame
from monitor.events.event import Event, EventLimits, Origin, Record
from monitor.events.event_format import EventFormat
from monitor.events.faults import Faults
from monitor.events.joins import Call, HeldParts
from monitor.events.json_object import JsonObject, read_record
from monitor.events.pair import api_of_pair
from monitor.events.response_body import APIS

AUTO = "auto"
"""Takes the first built-in format that recognises a body."""
EVENT_FORMATS: Registry[EventFormat] = Registry(
    "event format",
    "latentwatch.event_formats",
    # the format with the most specific fields comes first
    {
        "activations": "monitor.events.formats.activations",
        "otlp": "monitor.events.formats.otlp",
        "langfuse": "monitor.events.formats.langfuse",
        "kong": "monitor.events.formats.kong",
        "apisix": "monitor.events.formats.apisix",
        "litellm": "monitor.events.formats.litellm",
        "sharegpt": "monitor.events.formats.sharegpt",
        "openai_responses": "monitor.events.formats.openai_responses:FORMAT",
        "anthropic": "monitor.events.formats.anthropic:FORMAT",
        "gemini": "monitor.events.formats.gemini:FORMAT",
        "ollama": "monitor.events.formats.ollama:FORMAT",
        "completions": "monitor.events.formats.completions:FORMAT",
        "openai": "monitor.events.formats.openai_chat:FORMAT",
        "native": "monitor.events.formats.native",
    },
    members=("recognises", "parse"),
)
Seen = Callable[[str, JsonObject, Context], None]
"""Is told the name of the format that reads a body, the body, and what is known of it from outside."""
# the products' own formats, each with keys of which it needs at least one
_MARKS = {
    "activations": frozenset(("activations",)),
    "otlp": frozenset(("resourceSpans", "resourceLogs")),
    "langfuse": frozenset(("batch", "body")),
    "kong": frozenset(("ai", "request")),
    "apisix": frozenset(("llm_request", "llm_response_text", "llm_response", "llm_summary")),
    "litellm": frozenset(("call_type",)),
    "sharegpt": frozenset(("conversations", "conversation")),
}
_ANY_MARK = frozenset().union(*_MARKS.values())
UNRECOGNISED = "native"
"""Reads what no format recognises, and so says what is missing."""


@dataclass(frozen=True)
class Parsed:
    """The events in the records of one poll, and the faults by record. A record can have both, or neither."""

    events: tuple[Event, ...]
    faults: Mapping[Origin, Faults]


def parse(
    record: Record,
    limits: EventLimits | None = None,
    wire_format: str | EventFormat = AUTO,
    seen: Seen = lambda *_: None,
    schemas: Mapping[int, Decoder] = NO_SCHEMAS,
) -> tuple[Event, ...]:
    """The events in one record; none if it holds nothing to judge, as a batch of other services' spans does.

    `wire_format` is AUTO, a name in EVENT_FORMATS, or a format itself; `schemas` decodes records in a schema registry's
    frame. `seen` is told of every body before it is parsed. Raises BadEvent with the JSON path of the first fault, even
    if there are events next to it.
    """
    parsed = parse_records((record,), limits, wire_format, schemas, seen)
    for faults in parsed.faults.values():
        raise faults.first
    return parsed.events


def parse_records(
    records: Iterable[Record],
    limits: EventLimits | None = None,
    wire_format: str | EventFormat = AUTO,
    schemas: Mapping[int, Decoder] = NO_SCHEMAS,
    seen: Seen = lambda *_: None,
) -> Parsed:
    """The events in the records of one poll. Parts of one call are one event, although they are in several records.

    Those are pieces of a streamed completion, joined by their id, and the request and the response of loggers that send
    them apart. If `wire_format` is not AUTO and not that of an API, every body is read by itself.
    """
    read = _Reader(limits or EventLimits(), wire_format, seen)
    joins = isinstance(wire_format, str) and (wire_format == AUTO or wire_format in APIS)
    held = HeldParts()
    events: list[list[Event]] = []
    faults: dict[Origin, Faults] = {}
    for record in records:
        context = Context(record)
        faults[record.origin] = context.faults
        try:
            opened = _opened(record, context, read.limits, schemas)
        except BadEvent as fault:
            context.faults.add(fault)
            continue
        for body in opened:
            # only parts of calls wait for the others; all else that a record holds goes before the next is opened
            waits = joins and held.takes(body, len(events))
            events.append([] if waits else read.events(Call([body])))
    for place, call in held.calls():
        events[place] = read.events(call)
    found = tuple(event for of_body in events for event in of_body)
    return Parsed(found, {origin: faults_there for origin, faults_there in faults.items() if faults_there})


def _opened(record: Record, context: Context, limits: EventLimits, schemas: Mapping[int, Decoder]) -> list[Body]:
    if record.value is None:
        raise BadEvent("the record has no value (a tombstone)")
    if len(record.value) > limits.max_bytes:
        raise BadEvent(f"{len(record.value)} bytes, over events.max_bytes = {limits.max_bytes}", kind="size")
    try:
        return list(bodies(_value(record.value, context, schemas), context))
    except RecursionError:
        raise BadEvent("nested too deeply", kind="json") from None


def _value(raw: bytes, context: Context, schemas: Mapping[int, Decoder]) -> Any:
    framed = frame(raw)
    if framed is not None and framed.schema_id in schemas:
        return schemas[framed.schema_id](framed.payload, context.repaired)
    try:
        return read_record(without_frame(raw), context.repaired)
    except BadEvent:
        if raw[:1] != b"\n":
            raise
        from monitor.events.envelopes.otlp_protobuf import from_protobuf  # slow to import, and few need it

        found = from_protobuf(raw)
        if found is None:
            raise
        return found


@dataclass(frozen=True)
class _Reader:
    """Reads calls in one format, or in any."""

    limits: EventLimits
    wire_format: str | EventFormat
    seen: Seen

    def events(self, call: Call) -> list[Event]:
        """The events in a call. If its parts can't be read together, they are read apart, and only bad ones refused."""
        whole = call.whole()
        events, bad = self._of_body(whole)
        if not bad:
            return events
        if call.request is not None:
            halves = call.request, Call(call.pieces, repeats=call.repeats)
            return [event for half in halves for event in self.events(half)]
        if len(call.pieces) == 1:
            for context in (whole.context, *call.repeats):
                for fault in bad:
                    context.faults.add(fault)
            return events
        apart = [(piece, *self._of_body(piece)) for piece in call.pieces]
        good = [piece for piece, _, faults in apart if not faults]
        if 0 < len(good) < len(apart):
            events = self.events(Call(good, repeats=call.repeats))
        else:
            events = [event for _, found, _ in apart for event in found]
        for piece, _, faults in apart:
            for fault in faults:
                piece.context.faults.add(fault)
        return events

    def _of_body(self, body: Body) -> tuple[list[Event], list[BadEvent]]:
        """The events in a body that are within the limits, and what is wrong with the others."""
        data, context = body
        events: list[Event] = []
        bad: list[BadEvent] = []
        try:
            name, read = self._format_of(data)
            self.seen(name, data, context)
            for event in read.parse(data, context):
                excess = _excess(event, self.limits)
                if excess:
                    bad.append(BadEvent(excess, context.path, kind="size"))
                else:
                    events.append(event)
        except BadEvent as fault:
            bad.append(fault)
        except RecursionError:
            bad.append(BadEvent("nested too deeply", kind="json"))
        return events, bad

    def _format_of(self, data: JsonObject) -> tuple[str, EventFormat]:
        if not isinstance(self.wire_format, str):
            return "mapping", self.wire_format
        name = recognised(data) if self.wire_format == AUTO else self.wire_format
        return name, EVENT_FORMATS.load(name)


def recognised(data: JsonObject) -> str:
    """The name of the first built-in format that recognises `data`. Those that can't are not asked."""
    for name, marks in () if _ANY_MARK.isdisjoint(data) else _MARKS.items():
        if not marks.isdisjoint(data) and EVENT_FORMATS.load(name).recognises(data):
            return name
    return api_of_pair(data) or ("openai" if "request" in data else UNRECOGNISED)


def _excess(event: Event, limits: EventLimits) -> str:
    """Which limit the event is over; empty if none."""
    if len(event.messages) > limits.max_messages:
        return f"{len(event.messages)} messages, over events.max_messages = {limits.max_messages}"
    chars = len(event.response) + sum(len(m.content) for m in event.messages)
    return f"{chars} characters of text, over events.max_chars = {limits.max_chars}" if chars > limits.max_chars else ""
