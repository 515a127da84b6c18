"""OpenAI chat completions: the request as it was sent and the response as it came, next to each other.

Recognised by `request` or `choices` at the top level.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import Field

from monitor.errors import BadEvent
from monitor.events.context import Context
from monitor.events.event import Event
from monitor.events.json_object import JsonObject
from monitor.events.wire import EventId, Wire, validated
from monitor.events.wire_message import WireMessage

_TYPICAL_FIELDS = {"request", "choices"}


class Request(Wire):
    """What the service asked the model."""

    model: str | None = None
    messages: list[WireMessage]
    metadata: dict[str, Any] | None = None


class Choice(Wire):
    """One of the answers."""

    index: int | None = None
    message: WireMessage


class Response(Wire):
    """What the model answered."""

    id: EventId
    created: int | None = None
    model: str | None = None
    choices: Annotated[list[Choice], Field(min_length=1, max_length=128)]


class Pair(Wire):
    """The whole body."""

    id: EventId | None = None
    request: Request
    response: Response
    attributes: dict[str, Any] | None = None
    traceparent: str | None = None


def recognises(data: JsonObject) -> bool:
    """Whether there is a request, or a response that is not part of a pair."""
    return not _TYPICAL_FIELDS.isdisjoint(data)


def parse(data: JsonObject, context: Context) -> tuple[Event, ...]:
    """One event for each choice. The first has the id of the pair, the others that id with # and their index."""
    pair = validated(Pair, data, context)
    event_id = pair.id or pair.response.id
    messages = tuple(message.message() for message in pair.request.messages)
    time = context.time()
    if pair.response.created is not None:
        try:
            time = datetime.fromtimestamp(pair.response.created, tz=UTC)
        except (OverflowError, ValueError, OSError):
            raise BadEvent("not a Unix time in seconds", f"{context.path}.response.created") from None
    events = tuple(
        Event(
            id=event_id if n == 0 else f"{event_id}#{index}",
            messages=messages,
            response=choice.message.text(),
            origin=context.record.origin,
            time=time,
            model=pair.response.model or pair.request.model,
            attributes=pair.attributes or pair.request.metadata or {},
            traceparent=context.traceparent(pair.traceparent),
        )
        for n, (index, choice) in enumerate(_numbered(pair.response.choices))
    )
    if not any(e.response or any(m.content for m in e.messages) for e in events):
        raise BadEvent("no text: the messages and every choice are empty", context.path)
    return events


def _numbered(choices: list[Choice]) -> list[tuple[int, Choice]]:
    """The choices by index; by position if an index is missing or repeated, because ids must differ."""
    indices = {choice.index for choice in choices}
    if None in indices or len(indices) < len(choices):
        return list(enumerate(choices))
    return sorted(((choice.index or 0, choice) for choice in choices), key=lambda pair: pair[0])
