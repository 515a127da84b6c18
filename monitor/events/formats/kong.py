"""Kong's log plugins, such as kafka-log, with an AI plugin.

Marks: `ai`, or fields of Kong next to an HTTP request.

Source: Kong documentation, "AI Gateway audit log reference".
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
from monitor.events.stream import body_value

_KONG = ("workspace_name", "latencies", "upstream_uri", "upstream_status", "tries")


def recognises(data: JsonObject) -> bool:
    """Whether this is a log entry of an HTTP request through Kong."""
    http = data.get("request")
    is_http = isinstance(http, dict) and not {"uri", "url", "method"}.isdisjoint(http)
    return isinstance(data.get("ai"), dict) or (is_http and not data.keys().isdisjoint(_KONG))


def parse(data: JsonObject, context: Context) -> tuple[Event, ...]:
    """The one call, from the payloads that the AI plugin logged."""
    said = Said()
    where, payload = _payload(data.get("ai"))
    if payload is None:
        raise BadEvent("a log entry of Kong without the text: set logging.log_payloads in the AI plugin", context.path)
    path = f"{context.path}.ai{where}.payload"
    request = as_body(payload.get("request"), said, f"{path}.request")
    response = read_response(body_value(payload.get("response")), said, f"{path}.response")
    http: Any = data.get("request")
    draft = Draft(
        messages=request_messages(request, said, f"{path}.request") if request else [],
        answers=response.answers,
        ids=(http.get("id") if isinstance(http, dict) else None, response.id),
        times=(data.get("started_at"), response.time),
        models=(response.model, request.get("model")),
        attributes=(request.get("metadata"),),
        said=said,
    )
    return draft.events(context)


def _payload(ai: object) -> tuple[str, JsonObject | None]:
    """The first payload in the entries of the AI plugins, and its path."""
    if isinstance(ai, dict):
        for name, plugin in [("", ai), *((f".{key}", value) for key, value in ai.items())]:
            if isinstance(plugin, dict) and isinstance(plugin.get("payload"), dict):
                return name, plugin["payload"]
    return "", None
