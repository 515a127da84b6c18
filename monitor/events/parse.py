"""Parse: the events in a record, in any known format and envelope."""

from __future__ import annotations

import json
import re

from detectors.registry import Registry
from monitor.errors import BadEvent
from monitor.events.context import Context
from monitor.events.envelopes import cloudevents
from monitor.events.event import Event, EventLimits, Record
from monitor.events.event_format import Envelope, EventFormat
from monitor.events.json_object import JsonObject, json_object

AUTO = "auto"
"""Takes the first built-in format that recognises a body."""
EVENT_FORMATS: Registry[EventFormat] = Registry(
    "event format",
    "latentwatch.event_formats",
    # the format with the most specific fields comes first
    {
        "openai": "monitor.events.formats.openai_chat",
        "native": "monitor.events.formats.native",
    },
    members=("recognises", "parse"),
)
_UNRECOGNISED = "native"
"""Reads bodies that no format recognises, so that the error names what is missing."""
# outermost first; each is unwrapped once
_ENVELOPES: tuple[Envelope, ...] = (cloudevents,)
_SURROGATE = re.compile("[\ud800-\udfff]")


def parse(record: Record, limits: EventLimits | None = None, wire_format: str = AUTO) -> tuple[Event, ...]:
    """The events in one record: one, or several in formats that hold several answers to one prompt.

    `wire_format` is AUTO or a name in EVENT_FORMATS. Raises BadEvent with the JSON path of the first fault.
    """
    limits = limits or EventLimits()
    if record.value is None:
        raise BadEvent("the record has no value (a tombstone)")
    if len(record.value) > limits.max_bytes:
        raise BadEvent(f"{len(record.value)} bytes, over events.max_bytes = {limits.max_bytes}", kind="size")
    data, context = json_object(record.value), Context(record)
    for envelope in _ENVELOPES:
        if envelope.recognises(data, context):
            data, context = envelope.unwrap(data, context)
    name = _recognised(data) if wire_format == AUTO else wire_format
    events = tuple(EVENT_FORMATS.load(name).parse(data, context))
    for event in events:
        _check_text(event, limits)
    return events


def _recognised(data: JsonObject) -> str:
    found = (name for name in EVENT_FORMATS.built_in if EVENT_FORMATS.load(name).recognises(data))
    return next(found, _UNRECOGNISED)


def _check_text(event: Event, limits: EventLimits) -> None:
    if len(event.messages) > limits.max_messages:
        raise BadEvent(f"{len(event.messages)} messages, over events.max_messages = {limits.max_messages}", kind="size")
    chars = len(event.response) + sum(len(m.content) for m in event.messages)
    if chars > limits.max_chars:
        raise BadEvent(f"{chars} characters of text, over events.max_chars = {limits.max_chars}", kind="size")
    texts = [event.id, event.response, event.model or "", *(t for m in event.messages for t in (m.role, m.content))]
    if event.attributes:
        texts.append(json.dumps(event.attributes, ensure_ascii=False))
    for text in texts:
        if _SURROGATE.search(text):
            raise BadEvent("a lone surrogate is not Unicode text", kind="encoding")
