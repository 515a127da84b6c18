"""ShareGPT: whole conversations, as fine-tuning data is kept. Mark: `conversations`, a list."""

from __future__ import annotations

from monitor.events.context import Context
from monitor.events.draft import Draft
from monitor.events.event import Event, Message
from monitor.events.json_object import JsonObject
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
    """The one conversation; the assistant's last turn is the response."""
    said = Said()
    messages = [turn for key in _KEYS for turn in said.messages(body_value(data.get(key)), f"{context.path}.{key}")]
    if system := said.text(data.get("system"), f"{context.path}.system"):
        messages.insert(0, Message("system", system))
    draft = Draft(
        messages,
        ids=(data.get("id"),),
        times=(data.get("time"),),
        models=(data.get("model"),),
        attributes=(data.get("attributes"),),
        said=said,
    )
    return draft.events(context)
