"""ShareGPT: whole conversations, as fine-tuning data is kept. Mark: `conversations`, a list."""

from __future__ import annotations

from monitor.events.context import Context
from monitor.events.draft import Draft
from monitor.events.event import Event, Message
from monitor.events.json_object import JsonObject
from monitor.events.said import Said


def recognises(data: JsonObject) -> bool:
    """Whether there is a list of conversations."""
    return isinstance(data.get("conversations") or data.get("conversation"), list)


def parse(data: JsonObject, context: Context) -> tuple[Event, ...]:
    """The one conversation; the assistant's last turn is the response."""
    said = Said()
    key = "conversations" if data.get("conversations") else "conversation"
    messages = said.messages(data.get(key), f"{context.path}.{key}")
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
