"""APISIX's kafka-logger with an AI plugin. Marks: `llm_request`, `llm_response_text` or `llm_summary`.

Source: APISIX documentation, "ai-proxy", logging of payloads.
"""

from __future__ import annotations

from typing import Any

from monitor.errors import BadEvent
from monitor.events.context import Context
from monitor.events.draft import Draft
from monitor.events.event import Event
from monitor.events.json_object import JsonObject
from monitor.events.pair import as_body
from monitor.events.request_body import request_messages
from monitor.events.response_body import read_response
from monitor.events.said import Said

_MARKS = ("llm_request", "llm_response_text", "llm_response", "llm_summary")


def recognises(data: JsonObject) -> bool:
    """Whether the AI plugin wrote into this log entry."""
    return not data.keys().isdisjoint(_MARKS)


def parse(data: JsonObject, context: Context) -> tuple[Event, ...]:
    """The one call."""
    said, path = Said(), context.path
    if data.keys().isdisjoint(_MARKS[:-1]):
        raise BadEvent("a log entry of APISIX without the text: set logging.payloads in the AI plugin", path)
    request = as_body(data.get("llm_request"), said, f"{path}.llm_request")
    key = "llm_response_text" if data.get("llm_response_text") else "llm_response"
    response = read_response(data.get(key), said, f"{path}.{key}")
    summary: Any = data.get("llm_summary")
    draft = Draft(
        messages=request_messages(request, said, f"{path}.llm_request") if request else [],
        answers=response.answers,
        ids=(data.get("request_id"), response.id),
        times=(data.get("start_time"), response.time),
        models=(request.get("model"), summary.get("model") if isinstance(summary, dict) else None),
        attributes=(request.get("metadata"),),
        said=said,
    )
    return draft.events(context)
