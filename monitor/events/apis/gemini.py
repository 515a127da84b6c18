"""Gemini generateContent, whole or as the pieces of streamGenerateContent. Mark: `candidates` or `promptFeedback`.

Source: Gemini API reference, "GenerateContentResponse".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monitor.errors import BadEvent
from monitor.events.apis.answer import Answer, index_of
from monitor.events.json_object import JsonObject, json_type
from monitor.events.said import Said

_FIELDS = frozenset(("candidates", "promptFeedback", "usageMetadata", "modelVersion", "modelStatus", "responseId"))


def is_response(body: JsonObject) -> bool:
    """Whether there are candidates, or why there are none. An empty list next to foreign fields means nothing."""
    found = body.get("candidates")
    marked = bool(found) or body.get("promptFeedback") is not None or (found is not None and body.keys() <= _FIELDS)
    others = (body.get(key) for key in ("choices", "message", "response", "output"))
    return marked and not any(other and isinstance(other, list | dict) for other in others)


def joined(pieces: Sequence[JsonObject]) -> JsonObject:
    """One response with the parts of each candidate put together; text follows on text without a break."""
    parts: dict[int, list[Any]] = {}
    others: list[Any] = []  # what is no candidate, which is for `answers` to refuse
    for piece in pieces:
        found = piece.get("candidates")
        for i, candidate in enumerate(found if isinstance(found, list) else [found]):
            if not isinstance(candidate, dict):
                others.append(candidate)
                continue
            index = index_of(candidate)
            for part in _parts_of(_content(candidate)):
                _append(parts.setdefault(i if index is None else index, []), part)
    candidates = [{"index": i, "content": {"role": "model", "parts": found}} for i, found in sorted(parts.items())]
    return {**(pieces[0] if pieces else {}), "candidates": [*candidates, *others]}


def answers(body: JsonObject, said: Said, path: str) -> list[Answer]:
    """One answer for each candidate."""
    candidates = body.get("candidates")
    if candidates is None:
        return []
    if not isinstance(candidates, list):
        raise BadEvent(f"expected a list of candidates, got {json_type(candidates)}", f"{path}.candidates")
    found = []
    for i, candidate in enumerate(candidates):
        if candidate is None:
            continue
        if not isinstance(candidate, dict):
            raise BadEvent(f"expected a candidate, got {json_type(candidate)}", f"{path}.candidates[{i}]")
        text = said.text(_content(candidate), f"{path}.candidates[{i}].content")
        if text or candidate.get("content") is not None:
            found.append(Answer(text, index_of(candidate)))
    return found


def _content(candidate: JsonObject) -> Any:
    """What a candidate says: its content, or else the candidate itself, which may hold parts or text."""
    content = candidate.get("content")
    return {**candidate, "role": "model"} if content is None else content


def _parts_of(content: Any) -> list[Any]:
    """The parts; everything else that is said is one more part."""
    if not isinstance(content, dict):
        return content if isinstance(content, list) else [content]
    parts = content.get("parts")
    others = {key: value for key, value in content.items() if key not in ("parts", "role")}
    return [*(parts if isinstance(parts, list) else [parts]), *([{**others, "role": "model"}] if others else [])]


def _append(parts: list[Any], part: Any) -> None:
    last = parts[-1] if parts else None
    texts = [isinstance(p, dict) and isinstance(p.get("text"), str) for p in (last, part)]
    if isinstance(last, dict) and all(texts) and last.get("thought") == part.get("thought"):
        parts[-1] = {**last, "text": last["text"] + part["text"]}
    else:
        parts.append(part)
