"""CloudEvents: structured mode, with the body in `data`, and binary mode, with the envelope in Kafka headers.

Marks: `specversion` at the top, or the header `ce_specversion`. Dapr's messages are CloudEvents, too.
Source: CloudEvents 1.0.2, JSON event format 3.1 and Kafka protocol binding 3.2.
"""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any, NamedTuple

from monitor.errors import BadEvent
from monitor.events.context import Context
from monitor.events.json_object import JsonObject, read_record

_ATTRIBUTES = ("id", "source", "type", "time", "traceparent")
# KServe's and Knative's loggers send request and response as two events of one id
_REQUEST, _RESPONSE = ".inference.request", ".inference.response"


class Half(NamedTuple):
    """One half of a call that a logger sent as two events: the id that both have, and which half it is."""

    id: str
    is_request: bool


def recognises(data: JsonObject, context: Context) -> bool:
    """Whether the body names a version of CloudEvents, or the headers do and nothing has been unwrapped yet."""
    return "specversion" in data or (not context.attributes and context.record.header("ce_specversion") is not None)


def unwrap(data: JsonObject, context: Context) -> tuple[Any, Context]:
    """The body and the envelope's attributes. Structured mode wins, because its data is one level down."""
    if "specversion" in data:
        found = {name: str(data[name]) for name in _ATTRIBUTES if isinstance(data.get(name), str | int) and data[name]}
        if "traceparent" not in found and isinstance(data.get("traceid"), str):  # Dapr
            found["traceparent"] = data["traceid"]
        suffix = "" if "id" in found else context.suffix
        body, path = _data(data, context)
        return body, replace(context, path=path, attributes=_with_shared_id(found), suffix=suffix)
    headers = {name: context.record.header(f"ce_{name}") for name in _ATTRIBUTES}
    found = {name: value for name, value in headers.items() if value}
    return data, replace(context, attributes=_with_shared_id({"specversion": "in headers", **found}))


def half_of(context: Context) -> Half | None:
    """Which half of which call a body is; None if it is a whole call."""
    shared = context.attributes.get("shared_id")
    return Half(shared, context.attributes["type"].endswith(_REQUEST)) if shared else None


def _with_shared_id(found: dict[str, str]) -> dict[str, str]:
    shares = found.get("type", "").endswith((_REQUEST, _RESPONSE)) and "id" in found
    return {**found, "shared_id": found["id"]} if shares else found


def _data(data: JsonObject, context: Context) -> tuple[Any, str]:
    if data.get("data") is not None or "data_base64" not in data:
        return data.get("data"), f"{context.path}.data"
    path = f"{context.path}.data_base64"
    try:
        raw = base64.b64decode(data["data_base64"], validate=True)
    except (TypeError, ValueError):
        raise BadEvent("not base64", path) from None
    try:
        return read_record(raw, context.repaired), path
    except BadEvent as e:
        raise BadEvent(f"what was base64 is {e.reason}", path, e.kind) from None
