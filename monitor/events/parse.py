"""Parse: the events in a record, in any known format and envelope."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from detectors.registry import Registry
from monitor.errors import BadEvent
from monitor.events.bodies import bodies
from monitor.events.context import Context
from monitor.events.envelopes.confluent import without_frame
from monitor.events.event import Event, EventLimits, Record
from monitor.events.event_format import EventFormat
from monitor.events.json_object import JsonObject, read_record

AUTO = "auto"
"""Takes the first built-in format that recognises a body."""
EVENT_FORMATS: Registry[EventFormat] = Registry(
    "event format",
    "latentwatch.event_formats",
    # the format with the most specific fields comes first
    {
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
UNRECOGNISED = "native"
"""Reads what no format recognises, and so says what is missing."""


def parse(
    record: Record,
    limits: EventLimits | None = None,
    wire_format: str | EventFormat = AUTO,
    seen: Seen = lambda *_: None,
) -> tuple[Event, ...]:
    """The events in one record: one, or several if it holds an array, a batch or several answers to one prompt.

    `wire_format` is AUTO, a name in EVENT_FORMATS, or a format itself, such as a mapping. Raises BadEvent with the JSON
    path of the first fault; then no event of the record counts. `seen` is told of every body before it is parsed.
    """
    limits = limits or EventLimits()
    if record.value is None:
        raise BadEvent("the record has no value (a tombstone)")
    if len(record.value) > limits.max_bytes:
        raise BadEvent(f"{len(record.value)} bytes, over events.max_bytes = {limits.max_bytes}", kind="size")
    context = Context(record)
    try:
        value = _value(record.value, context)
        events = tuple(
            event for data, inner in bodies(value, context) for event in _parsed(data, inner, wire_format, seen)
        )
    except RecursionError:
        raise BadEvent("nested too deeply", kind="json") from None
    _check_sizes(events, limits)
    return events


def _value(raw: bytes, context: Context) -> Any:
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


def _parsed(data: JsonObject, context: Context, wire_format: str | EventFormat, seen: Seen) -> Iterable[Event]:
    if not isinstance(wire_format, str):
        seen("mapping", data, context)
        return wire_format.parse(data, context)
    name = _recognised(data) if wire_format == AUTO else wire_format
    seen(name, data, context)
    return EVENT_FORMATS.load(name).parse(data, context)


def _recognised(data: JsonObject) -> str:
    found = (name for name in EVENT_FORMATS.built_in if EVENT_FORMATS.load(name).recognises(data))
    return next(found, UNRECOGNISED)


def _check_sizes(events: Iterable[Event], limits: EventLimits) -> None:
    for event in events:
        if len(event.messages) > limits.max_messages:
            reason = f"{len(event.messages)} messages, over events.max_messages = {limits.max_messages}"
            raise BadEvent(reason, kind="size")
        chars = len(event.response) + sum(len(m.content) for m in event.messages)
        if chars > limits.max_chars:
            raise BadEvent(f"{chars} characters of text, over events.max_chars = {limits.max_chars}", kind="size")
