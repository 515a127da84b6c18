"""Bodies: everything in a record that can be an event, with the envelopes opened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from monitor.errors import BadEvent
from monitor.events.context import Context
from monitor.events.envelopes import cloudevents, connect
from monitor.events.event_format import Envelope
from monitor.events.json_object import JsonObject, checked_object, read_text
from monitor.events.stream import joined_streams

_ENVELOPES: dict[str, Envelope] = {"CloudEvents": cloudevents, "Kafka Connect": connect}
_MAX_LAYERS = 8


class Body(NamedTuple):
    """An object that can be an event, and what is known of it from outside."""

    data: JsonObject
    context: Context


def bodies(value: Any, context: Context, layers: int = 0) -> Iterator[Body]:
    """The objects in `value`: from text of JSON, arrays and envelopes, one inside the other.

    Pieces of one streamed response are put together if they have no id. Raises BadEvent for what is no object in the
    end; in an array, that is added to `context.faults` instead.
    """
    if layers > _MAX_LAYERS:
        raise BadEvent(f"more than {_MAX_LAYERS} envelopes inside each other", context.path)
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "[", '"'):
        inside = read_text(value, context.repaired, context.path)
        yield from bodies(inside, _opened(context, "text of JSON"), layers + 1)
    elif isinstance(value, list) and value:
        yield from _of_list(value, context, layers)
    else:
        data = checked_object(value, context.path)
        for name, envelope in _ENVELOPES.items():
            if envelope.recognises(data, context):
                body, inner = envelope.unwrap(data, context)
                yield from bodies(body, _opened(inner, name), layers + 1)
                return
        yield Body(data, context)


def _of_list(items: list[Any], context: Context, layers: int) -> Iterator[Body]:
    if all(isinstance(item, dict) and _is_turn(item) for item in items):
        yield Body({"messages": items}, context)
        return
    context = _opened(context, "an array")
    found = joined_streams(items)
    for i, (at, item) in enumerate(found):
        if context.faults.full:
            return
        suffix = f"{context.suffix}#{i}" if len(found) > 1 else context.suffix
        try:
            if isinstance(item, BadEvent):  # a line that isn't JSON
                raise item
            yield from bodies(item, replace(context, path=f"{context.path}[{at}]", suffix=suffix), layers + 1)
        except BadEvent as fault:
            context.faults.add(fault)


def _opened(context: Context, name: str) -> Context:
    return replace(context, opened=(*context.opened, name))


def _is_turn(item: JsonObject) -> bool:
    """Whether this is a turn of a conversation rather than an event."""
    return not item.keys().isdisjoint(("role", "from")) and item.keys().isdisjoint(
        ("id", "messages", "request", "data")
    )
