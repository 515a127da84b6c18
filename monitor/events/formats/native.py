"""The native format, for producers that can choose their own: messages or a prompt, and the response.

Marks: `messages`, `prompt`, `response` or another field with turns at the top.
"""

from __future__ import annotations

from monitor.errors import BadEvent
from monitor.events.context import Context
from monitor.events.draft import Draft
from monitor.events.event import Event
from monitor.events.json_object import JsonObject, key_names
from monitor.events.pair import PairFormat
from monitor.events.request_body import is_request, request_messages
from monitor.events.response_body import ANSWER_FIELDS, responses_in
from monitor.events.said import Said

FIELDS = ("id", "time", "model", "messages", "prompt", "response", "attributes", "traceparent")

PAIR = PairFormat("openai")


def recognises(data: JsonObject) -> bool:
    """Whether any text stands at the top."""
    return is_request(data) or not data.keys().isdisjoint(ANSWER_FIELDS)


def parse(data: JsonObject, context: Context) -> tuple[Event, ...]:
    """The one event in `data`. Its id and time go before those of the envelope."""
    said, path = Said(), context.path
    if not recognises(data) and not data.get("request"):
        raise BadEvent(f"not a format that is read; the keys are: {key_names(data)}", path)
    if data.get("request"):
        return PAIR.parse(data, context)
    if data.get("messages") is not None and data.get("prompt") is not None:
        raise BadEvent("give messages or prompt, not both", f"{path}.prompt")
    messages = request_messages(data, said, path) if is_request(data) else []
    response = responses_in(data, said, path, text_is_answer=True)
    draft = Draft(
        messages=messages,
        answers=response.answers,
        ids=(_shared_id(data, context), data.get("id"), response.id),
        times=(data.get("time"), data.get("timestamp"), response.time),
        models=(data.get("model"), response.model),
        attributes=(data.get("attributes"), data.get("metadata")),
        traceparent=data.get("traceparent"),
        said=said,
    )
    return draft.events(context)


def _shared_id(data: JsonObject, context: Context) -> str | None:
    """The id of a call whose request and response come as two events; the response has it as it is."""
    shared = context.attributes.get("shared_id")
    return f"{shared}#request" if shared and is_request(data) else shared
