"""LiteLLM's StandardLoggingPayload. Marks: `call_type` next to `messages` or `response`.

Source: LiteLLM documentation, "StandardLoggingPayload Specification".
"""

from __future__ import annotations

from monitor.errors import BadEvent
from monitor.events.context import Context
from monitor.events.draft import Draft
from monitor.events.event import Event
from monitor.events.json_object import JsonObject
from monitor.events.pair import turns_in
from monitor.events.response_body import responses_in
from monitor.events.said import Said


def recognises(data: JsonObject) -> bool:
    """Whether a type of call stands next to text."""
    return "call_type" in data and not {"messages", "response"}.isdisjoint(data)


def parse(data: JsonObject, context: Context) -> tuple[Event, ...]:
    """One event for each answer; a call that failed has none."""
    said, path = Said(), context.path
    if not recognises(data):
        raise BadEvent("no call_type next to messages or response, as LiteLLM's payload has", path)
    _, messages = turns_in(data, said, path)
    response = responses_in(data, said, path)
    draft = Draft(
        messages=messages,
        answers=response.answers,
        ids=(data.get("id"), response.id, data.get("litellm_call_id"), data.get("trace_id")),
        times=(data.get("startTime"), data.get("endTime"), response.time),
        models=(data.get("model"), response.model),
        attributes=(data.get("metadata"),),
        said=said,
    )
    return draft.events(context)
