"""The native format, for producers that can choose their own: messages or a prompt, and the response.

Recognised by `messages`, `prompt` or `response` at the top level.
"""

from __future__ import annotations

from typing import Any

from monitor.errors import BadEvent
from monitor.events.context import Context, rfc3339
from monitor.events.event import Event, Message
from monitor.events.json_object import JsonObject
from monitor.events.wire import MAX_ID_CHARS, EventId, Wire, validated
from monitor.events.wire_message import WireMessage

_TEXT_FIELDS = {"messages", "prompt", "response"}


class NativeEvent(Wire):
    """The whole body."""

    id: EventId | None = None
    time: str | None = None
    model: str | None = None
    messages: list[WireMessage] | None = None
    prompt: str | None = None
    response: str | None = None
    attributes: dict[str, Any] | None = None
    traceparent: str | None = None


def recognises(data: JsonObject) -> bool:
    """Whether any of the text fields is at the top level."""
    return not _TEXT_FIELDS.isdisjoint(data)


def parse(data: JsonObject, context: Context) -> tuple[Event, ...]:
    """The one event in `data`. Its id and time take precedence over the envelope's."""
    wire, path = validated(NativeEvent, data, context), context.path
    event_id = wire.id or context.attributes.get("id")
    if not event_id:
        raise BadEvent("an event needs an id", f"{path}.id")
    if len(event_id) > MAX_ID_CHARS:  # can only be the envelope's: the body's own has been checked
        raise BadEvent(f"an id should have at most {MAX_ID_CHARS} characters", "$.id")
    if wire.messages is not None and wire.prompt is not None:
        raise BadEvent("give messages or prompt, not both", f"{path}.prompt")
    if wire.messages is not None:
        messages = tuple(message.message() for message in wire.messages)
    else:
        messages = (Message("user", wire.prompt),) if wire.prompt else ()
    response = wire.response or ""
    if not response and not any(message.content for message in messages):
        raise BadEvent("no text: messages, prompt and response are all missing or empty", path)
    event = Event(
        id=event_id,
        messages=messages,
        response=response,
        origin=context.record.origin,
        time=rfc3339(wire.time, f"{path}.time") if wire.time else context.time(),
        model=wire.model,
        attributes=wire.attributes or {},
        traceparent=context.traceparent(wire.traceparent),
    )
    return (event,)
