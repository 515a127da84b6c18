"""CloudEvents 1.0: structured mode, with the body in `data`, and binary mode, with the envelope in Kafka headers.

Recognised by `specversion` at the top level, or by the header `ce_specversion`.
Source: CloudEvents 1.0.2, JSON event format 3.1 and Kafka protocol binding 3.2.
"""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

from monitor.errors import BadEvent
from monitor.events.context import Context
from monitor.events.json_object import JsonObject, checked_object, read_json

_ATTRIBUTES = ("id", "source", "time", "traceparent")


def recognises(data: JsonObject, context: Context) -> bool:
    """Whether the body or the headers name a version of CloudEvents."""
    return "specversion" in data or context.record.header("ce_specversion") is not None


def unwrap(data: JsonObject, context: Context) -> tuple[JsonObject, Context]:
    """The body and the envelope's attributes. Structured mode wins, because its data is one level down."""
    if "specversion" in data:
        inner = replace(context, path=f"{context.path}.data", attributes=_attributes(data, context))
        return _data(data, context), inner
    headers = {name: context.record.header(f"ce_{name}") for name in _ATTRIBUTES}
    return data, replace(context, attributes={name: value for name, value in headers.items() if value is not None})


def _attributes(data: JsonObject, context: Context) -> dict[str, str]:
    if data["specversion"] != "1.0":
        raise BadEvent("only CloudEvents 1.0 is supported", f"{context.path}.specversion")
    for name in ("id", "source", "type"):
        if not isinstance(data.get(name), str) or not data[name]:
            raise BadEvent("a CloudEvent needs a non-empty string here", f"{context.path}.{name}")
    return {name: data[name] for name in _ATTRIBUTES if isinstance(data.get(name), str)}


def _data(data: JsonObject, context: Context) -> JsonObject:
    body: Any = data.get("data")
    if "data_base64" in data:
        try:
            body = read_json(base64.b64decode(data["data_base64"], validate=True).decode())
        except (TypeError, ValueError, RecursionError):
            raise BadEvent("not base64 of a JSON object", f"{context.path}.data_base64") from None
    return checked_object(body, f"{context.path}.data")
