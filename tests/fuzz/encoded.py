"""Encoded: a value that stands in a record as text of JSON or as base64, so that what is in it can still be changed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any


class Encoded:
    """`value` as text of JSON, after `wrap`: base64, server-sent events and so on."""

    __slots__ = ("ascii", "value", "wrap")

    def __init__(self, value: Any, wrap: Callable[[Any], str] | None = None, ascii_only: bool = True) -> None:
        self.value = value
        self.wrap = wrap
        self.ascii = ascii_only


class Key(str):
    """A key that may stand twice in one object."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


def plain(value: Any) -> Any:
    """`value` with everything that is to be encoded encoded, from the inside out."""
    if isinstance(value, dict):
        made = {}
        for key, inner in value.items():
            made[key] = plain(inner)
        return made
    if isinstance(value, list):
        items = []
        for inner in value:
            items.append(plain(inner))
        return items
    if isinstance(value, Encoded):
        inner = plain(value.value)
        return value.wrap(inner) if value.wrap else json.dumps(inner, ensure_ascii=value.ascii)
    return value


def as_base64(value: Any) -> str:
    """JSON in base64."""
    return base64.b64encode(json.dumps(value).encode()).decode()


def as_events(value: Any) -> str:
    """A list as server-sent events."""
    items = value if isinstance(value, list) else [value]
    return "".join(f"data: {json.dumps(item)}\n\n" for item in items) + "data: [DONE]\n\n"


def as_lines(value: Any) -> str:
    """A list as lines of JSON."""
    return "\n".join(json.dumps(item) for item in (value if isinstance(value, list) else [value]))
