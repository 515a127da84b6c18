"""Streams: finds the pieces of streamed responses in a list of bodies, and puts each response together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from monitor.errors import BadEvent
from monitor.events.json_object import JsonObject, read_text
from monitor.events.response_body import APIS, api_of


def joined_streams(items: Sequence[Any]) -> list[Any]:
    """`items` with the pieces of each streamed response replaced by the response, where its first piece stood."""
    found: list[list[Any]] = []
    groups: dict[tuple[object, ...], list[Any]] = {}
    for item in items:
        key = _stream_of(item)
        if key is None:
            found.append([item])
            continue
        if key not in groups:
            groups[key] = []
            found.append(groups[key])
        groups[key].append(item)
        if _ends(item):
            del groups[key]
    return [_joined(group) for group in found]


def body_value(value: Any) -> Any:
    """`value`, decoded if it is the JSON of a body or of a stream of them."""
    if not isinstance(value, str):
        return value
    try:
        decoded = read_text(value, Counter())
    except BadEvent:
        return value
    return decoded if isinstance(decoded, dict | list) else value


def _stream_of(item: Any) -> tuple[object, ...] | None:
    """The stream that `item` is a piece of; None if it is whole."""
    name = api_of(item)
    if name in ("openai", "completions"):
        return (name, str(item.get("id"))) if _is_chunk(item) else None
    if name == "openai_responses" and item.get("object") == "response":
        return None
    if name == "anthropic" and item["type"] == "message":
        return None
    return None if name is None or "request" in item else (name,)


def _is_chunk(item: JsonObject) -> bool:
    choices = item.get("choices")
    deltas = isinstance(choices, list) and any(isinstance(choice, dict) and "delta" in choice for choice in choices)
    return deltas or str(item.get("object")).endswith(".chunk") or item.get("object") == "text_completion.chunk"


def _ends(item: JsonObject) -> bool:
    """Whether this is the last piece of a stream without an id."""
    candidates = item.get("candidates")
    finished = isinstance(candidates, list) and any(isinstance(c, dict) and c.get("finishReason") for c in candidates)
    kind = item.get("type")
    last = kind in ("message_stop", "response.completed", "response.incomplete", "response.failed")
    return finished or item.get("done") is True or last


def _joined(group: list[Any]) -> Any:
    name = api_of(group[0])
    return group[0] if name is None or len(group) == 1 else APIS[name].joined(group)
