"""Streams: tells the pieces of streamed responses from whole ones, and puts pieces without an id together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from monitor.errors import BadEvent
from monitor.events.json_object import JsonObject, read_text
from monitor.events.request_body import is_request
from monitor.events.response_body import APIS, api_of


def joined_streams(items: Sequence[Any]) -> list[tuple[int, Any]]:
    """`items` with their positions. The pieces of a streamed response without an id become the response.

    It stands where its first piece stood.
    """
    found: list[tuple[int, list[Any]]] = []
    groups: dict[str, list[Any]] = {}
    for at, item in enumerate(items):
        name = _api_of_piece(item)
        if name is None or stream_id(item) is not None:
            found.append((at, [item]))
            continue
        if name not in groups:
            groups[name] = []
            found.append((at, groups[name]))
        groups[name].append(item)
        if _ends(item):
            del groups[name]
    return [(at, group[0] if len(group) == 1 else joined_pieces(group)) for at, group in found]


def joined_pieces(pieces: Sequence[JsonObject]) -> JsonObject:
    """The response that `pieces` are of, all over one API."""
    name = api_of(pieces[0])
    return pieces[0] if name is None else APIS[name].joined(pieces)


def stream_id(item: Any) -> tuple[str, str] | None:
    """The API and the id of the stream that `item` is a piece of.

    None if it is whole, if its API has no ids for pieces, or if joining could lose some of what it says.
    """
    if not is_piece(item) or not item.get("id") or not isinstance(item["id"], str):
        return None
    name = api_of(item)
    choices = item.get("choices")
    broken = not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices)
    return None if name is None or broken or is_request(item) else (name, item["id"])


def is_piece(item: Any) -> bool:
    """Whether `item` is a piece of a streamed completion rather than a whole one."""
    if not isinstance(item, dict) or "request" in item:
        return False
    choices = item.get("choices")
    deltas = isinstance(choices, list) and any(isinstance(choice, dict) and "delta" in choice for choice in choices)
    return deltas or str(item.get("object")).endswith(".chunk")


def body_value(value: Any) -> Any:
    """`value`, decoded if it is the JSON of a body or of a stream of them."""
    if not isinstance(value, str):
        return value
    try:
        decoded = read_text(value, Counter())
    except BadEvent:
        return value
    return decoded if isinstance(decoded, dict | list) else value


def _api_of_piece(item: Any) -> str | None:
    """The API of the stream that `item` is a piece of; None if it is whole."""
    name = api_of(item)
    if name in ("openai", "completions"):
        return name if is_piece(item) else None
    if name == "openai_responses" and not str(item.get("type")).startswith("response."):
        return None
    if name == "anthropic" and item["type"] == "message":
        return None
    return None if name is None or "request" in item else name


def _ends(item: JsonObject) -> bool:
    """Whether this is the last piece of a stream without an id."""
    candidates = item.get("candidates")
    finished = isinstance(candidates, list) and any(isinstance(c, dict) and c.get("finishReason") for c in candidates)
    kind = item.get("type")
    last = kind in ("message_stop", "response.completed", "response.incomplete", "response.failed")
    return finished or item.get("done") is True or last
