"""Gemini generateContent, whole or as the pieces of streamGenerateContent. Mark: `candidates` or `promptFeedback`.

Source: Gemini API reference, "GenerateContentResponse".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monitor.errors import BadEvent
from monitor.events.apis.answer import Answer, index_of
from monitor.events.apis.pieces import items_of
from monitor.events.json_object import JsonObject, json_type
from monitor.events.said import Said


def is_response(body: JsonObject) -> bool:
    """Whether there are candidates, or why there are none."""
    return "candidates" in body or "promptFeedback" in body


def joined(pieces: Sequence[JsonObject]) -> JsonObject:
    """One response with the parts of each candidate put together; text follows on text without a break."""
    parts: dict[int, list[Any]] = {}
    for piece in pieces:
        for i, candidate in enumerate(items_of(piece.get("candidates"))):
            content = candidate.get("content") if isinstance(candidate, dict) else None
            new = content.get("parts") if isinstance(content, dict) else None
            index = index_of(candidate)
            for part in items_of(new):
                _append(parts.setdefault(i if index is None else index, []), part)
    candidates = [{"index": i, "content": {"role": "model", "parts": found}} for i, found in sorted(parts.items())]
    return {**(pieces[0] if pieces else {}), "candidates": candidates}


def answers(body: JsonObject, said: Said, path: str) -> list[Answer]:
    """One answer for each candidate."""
    candidates = body.get("candidates")
    if candidates is None:
        return []
    if not isinstance(candidates, list):
        raise BadEvent(f"expected a list of candidates, got {json_type(candidates)}", f"{path}.candidates")
    found = []
    for i, candidate in enumerate(candidates):
        if isinstance(candidate, dict) and candidate.get("content") is not None:
            text = said.text(candidate["content"], f"{path}.candidates[{i}].content")
            found.append(Answer(text, index_of(candidate)))
    return found


def _append(parts: list[Any], part: Any) -> None:
    last = parts[-1] if parts else None
    texts = [isinstance(p, dict) and isinstance(p.get("text"), str) for p in (last, part)]
    if isinstance(last, dict) and all(texts) and last.get("thought") == part.get("thought"):
        parts[-1] = {**last, "text": last["text"] + part["text"]}
    else:
        parts.append(part)
