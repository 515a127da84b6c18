"""Langfuse ingestion events, one or a batch. Marks: a `type` like `generation-create` next to `body`, or `batch`.

Source: Langfuse API reference, "Ingestion".
"""

from __future__ import annotations

import re
from typing import Any

from monitor.errors import BadEvent
from monitor.events.context import Context
from monitor.events.draft import Draft
from monitor.events.event import Event, Message
from monitor.events.json_object import JsonObject
from monitor.events.request_body import request_messages
from monitor.events.response_body import Response, read_response
from monitor.events.said import Said
from monitor.events.stream import body_value

_TYPE = re.compile(r"[a-z]+-(create|update)")


def recognises(data: JsonObject) -> bool:
    """Whether this is an ingestion event or a batch of them."""
    batch = data.get("batch")
    return _is_entry(data) or (isinstance(batch, list) and any(_is_entry(item) for item in batch))


def parse(data: JsonObject, context: Context) -> tuple[Event, ...]:
    """One event for each entry with input or output; entries without, such as scores, are skipped."""
    path = context.path
    entries = [(data, path)]
    if not _is_entry(data):
        batch = data.get("batch")
        items = batch if isinstance(batch, list) else []
        entries = [(entry, f"{path}.batch[{i}]") for i, entry in enumerate(items) if _is_entry(entry)]
    found: list[Event] = []
    for entry, where in entries:
        body = entry["body"]
        if any(body.get(key) not in (None, "", [], {}) for key in ("input", "output")):
            found += _event(entry, body, context, f"{where}.body")
    if not found:
        raise BadEvent(f"a Langfuse event without input and output: {data.get('type', 'batch')}", path)
    return tuple(found)


def _is_entry(data: object) -> bool:
    kind = data.get("type") if isinstance(data, dict) else None
    return isinstance(data, dict) and isinstance(kind, str) and bool(_TYPE.fullmatch(kind)) and _has_body(data)


def _has_body(data: JsonObject) -> bool:
    return isinstance(data.get("body"), dict)


def _event(entry: JsonObject, body: JsonObject, context: Context, path: str) -> tuple[Event, ...]:
    said = Said()
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
