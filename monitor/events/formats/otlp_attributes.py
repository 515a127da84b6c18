"""Attributes of OTLP as plain values, and the turns that instrumentations write into them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from monitor.errors import BadEvent
from monitor.events.json_object import json_type, read_json

_INDEXED = re.compile(r"\.(\d+)\.(.+)")
_SCALARS = ("stringValue", "intValue", "doubleValue", "boolValue", "bytesValue")


def value(wrapped: object) -> Any:
    """What an AnyValue holds; what is none is taken as the value itself, rather than dropped."""
    if not isinstance(wrapped, dict):
        return [value(item) for item in wrapped] if isinstance(wrapped, list) else wrapped
    for key in _SCALARS:
        if key in wrapped:
            return wrapped[key]
    for key in ("arrayValue", "kvlistValue"):
        inner = decoded(wrapped.get(key))
        if inner is not None and not isinstance(inner, dict):
            raise BadEvent(f"{key}: expected an object with values, got {json_type(inner)}")
        values = decoded(inner.get("values")) if inner else None
        if key == "kvlistValue" and isinstance(values, list):
            return read(values)
        if key in wrapped:
            return value(values if isinstance(values, list) else [values])
    return wrapped or None


def read(pairs: object, path: str = "$") -> dict[str, Any]:
    """A list of key-value pairs as a dict. Raises BadEvent if it is none."""
    if pairs is None:
        return {}
    if not isinstance(pairs, list):
        raise BadEvent(f"expected a list of attributes, got {json_type(pairs)}", path)
    for i, item in enumerate(pairs):
        if not isinstance(item, dict) or not isinstance(item.get("key"), str):
            raise BadEvent("expected an attribute with a key", f"{path}[{i}]")
    return {item["key"]: value(decoded(item.get("value"))) for item in pairs}


def decoded(held: Any) -> Any:
    """`held`; if it is the JSON of an object or a list, what that stands for."""
    if isinstance(held, str) and held.lstrip()[:1] in ("{", "["):
        try:
            return read_json(held)
        except (ValueError, RecursionError, BadEvent):  # also an object that has a key twice: as text, it loses nothing
            return held
    return held


def turns(found: Mapping[str, Any], key: str) -> Any:
    """The turns under `key`: as JSON, or as `key.0.role`, `key.0.content`, `key.0.message.content` and so on."""
    if found.get(key) is not None:
        whole = decoded(found[key])
        if isinstance(whole, dict):
            inner = next((whole[name] for name in ("messages", "prompt", "contents", "input") if name in whole), None)
            return whole if inner is None else inner
        return whole
    indexed: dict[int, dict[str, Any]] = {}
    for name, held in found.items():
        if name.startswith(key) and (place := _INDEXED.fullmatch(name[len(key) :])):
            _put(indexed.setdefault(int(place[1]), {}), place[2].removeprefix("message."), held)
    return [indexed[i] for i in sorted(indexed)] or None


def _put(turn: dict[str, Any], name: str, held: Any) -> None:
    """Calls and parts stand as `tool_calls.0.name`, `contents.0.message_content.text`; each field is a part here."""
    field, _, rest = name.partition(".")
    if not rest:
        turn[field] = decoded(held) if field != "role" else held
    elif rest.endswith((".name", ".arguments", ".text", "name", "arguments", "text")):
        shape = {"arguments": held} if rest.endswith("arguments") else {"text": held}
        turn.setdefault("parts", []).append(shape)
