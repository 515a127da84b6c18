"""ShareGPT: whole conversations, as fine-tuning data is kept. Mark: `conversations`, a list."""

from __future__ import annotations

from monitor.events.context import Context
from monitor.events.draft import Draft
from monitor.events.event import Event
from monitor.events.json_object import JsonObject
from monitor.events.pair import turns_in
from monitor.events.response_body import responses_in
from monitor.events.said import Said
from monitor.events.stream import body_value

_KEYS = ("conversations", "conversation")


def recognises(data: JsonObject) -> bool:
    """Whether there is a list of conversations."""
    return any(_has_turns(body_value(data.get(key))) for key in _KEYS)


def _has_turns(value: object) -> bool:
    """Whether these are turns, rather than a conversation's id, as the Responses API has it under `conversation`."""
    if isinstance(value, str):  # turns in text that isn't JSON are still said
        return value.lstrip()[:1] in ("[", "{")
    return (isinstance(value, list) and bool(value)) or (isinstance(value, dict) and "value" in value)


def parse(data: JsonObject, context: Context) -> tuple[Event, ...]:
    """The one conversation; the assistant's last turn is the response, unless one stands next to the conversation."""
    said, path = Said(), context.path
    _, messages = turns_in(data, said, path)
    messages += [turn for key in _KEYS for turn in said.messages(body_value(data.get(key)), f"{path}.{key}")]
    draft = Draft(
        messages,
        responses_in(data, said, path).answers,
        ids=(data.get("id"),),
        times=(data.get("time"),),
        models=(data.get("model"),),
        attributes=(data.get("attributes"),),
        said=said,
    )
    return draft.events(context)
