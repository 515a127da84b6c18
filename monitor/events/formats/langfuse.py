"""Langfuse ingestion events, one or a batch. Marks: a `type` like `generation-create` next to `body`, or `batch`.

Source: Langfuse API reference, "Ingestion".
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from monitor.errors import BadEvent
from monitor.events.context import Context
from monitor.events.draft import Draft
from monitor.events.event import Event, Message
from monitor.events.json_object import JsonObject, key_names
from monitor.events.request_body import request_messages
from monitor.events.response_body import Response, read_response
from monitor.events.said import Said
from monitor.events.stream import body_value

_FIELDS = ("id", "type", "timestamp", "body", "metadata")
_TYPE = re.compile(r"[a-z]+-(create|update)")


def recognises(data: JsonObject) -> bool:
    """Whether this is an ingestion event or a batch of them."""
    batch = data.get("batch")
    return _is_entry(data) or (isinstance(batch, list) and any(_is_entry(item) for item in batch))


def parse(data: JsonObject, context: Context) -> tuple[Event, ...]:
    """One event for each entry with input or output. Entries without, such as scores, hold nothing to judge."""
    if _is_entry(data):
        return _of_entry(data, context)
    if not isinstance(data.get("batch"), list):
        raise BadEvent("expected a Langfuse event, or a batch of them", context.path)
    found: list[Event] = []
    for i, entry in enumerate(data["batch"]):
        if context.faults.full:
            break
        inner = replace(context, path=f"{context.path}.batch[{i}]", suffix=f"{context.suffix}#{i}")
        try:
            if not isinstance(entry, dict) or not _has_body(entry):
                raise BadEvent("expected a Langfuse event with a body", inner.path)
            found += _of_entry(entry, inner)
        except BadEvent as fault:
            context.faults.add(fault)
    return tuple(found)


def _is_entry(data: object) -> bool:
    kind = data.get("type") if isinstance(data, dict) else None
    return isinstance(data, dict) and isinstance(kind, str) and bool(_TYPE.fullmatch(kind)) and _has_body(data)


def _has_body(data: JsonObject) -> bool:
    return isinstance(data.get("body"), dict)


def _of_entry(entry: JsonObject, context: Context) -> tuple[Event, ...]:
    said, body, path = Said(), entry["body"], f"{context.path}.body"
    if not any(body.get(key) not in (None, "", [], {}) for key in ("input", "output")):
        if others := [key for key, value in entry.items() if value and key not in _FIELDS]:
            raise BadEvent(f"no input or output, and other fields next to the body: {key_names(others)}", context.path)
        return ()
    response = _output(body.get("output"), said, f"{path}.output")
    metadata: Any = body.get("metadata")
    attributes = dict(metadata) if isinstance(metadata, dict) else {"metadata": metadata} if metadata else {}
    if isinstance(body.get("sessionId"), str):
        attributes["conversation_id"] = body["sessionId"]
    draft = Draft(
        messages=_input(body.get("input"), said, f"{path}.input"),
        answers=response.answers,
        ids=(body.get("id"), entry.get("id")),
        times=(body.get("startTime"), body.get("timestamp"), entry.get("timestamp")),
        models=(body.get("model"), response.model),
        attributes=(attributes,),
        said=said,
    )
    return draft.events(context)


def _input(value: Any, said: Said, path: str) -> list[Message]:
    return request_messages({"input": body_value(value)}, said, path.removesuffix(".input"))


def _output(value: Any, said: Said, path: str) -> Response:
    try:
        return read_response(value, said, path)
    except BadEvent:  # whatever a traced function returned
        return read_response(said.text(value, path), said, path)
