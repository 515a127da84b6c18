"""OpenAI chat completions, whole or as stream chunks. Mark: `choices`.

Source: OpenAI API reference, "The chat completion object" and "The chat completion chunk object".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monitor.errors import BadEvent
from monitor.events.apis.answer import Answer, index_of
from monitor.events.apis.pieces import merged
from monitor.events.json_object import JsonObject, json_type
from monitor.events.said import Said

_MAX_CHOICES = 128


def is_response(body: JsonObject) -> bool:
    """Whether there are choices."""
    return "choices" in body or body.get("object") in ("chat.completion", "chat.completion.chunk")


def joined(pieces: Sequence[JsonObject]) -> JsonObject:
    """One completion whose deltas are put together, choice by choice."""
    if len(pieces) == 1:
        return dict(pieces[0])
    choices: dict[int, list[JsonObject]] = {}
    others: list[Any] = []  # what is no choice, which is for `answers` to refuse
    for piece in pieces:
        found = piece.get("choices")
        for i, choice in enumerate(found if isinstance(found, list) else [found]):
            if isinstance(choice, dict):
                index = index_of(choice)
                choices.setdefault(i if index is None else index, []).append(choice)
            else:
                others.append(choice)
    whole: JsonObject = {}
    for piece in reversed(pieces):  # the first piece's id and time win
        whole.update((key, value) for key, value in piece.items() if value is not None)
    return {**whole, "choices": [*(_choice(index, items) for index, items in sorted(choices.items())), *others]}


def answers(body: JsonObject, said: Said, path: str) -> list[Answer]:
    """One answer for each choice: its message, delta or text."""
    choices = body.get("choices")
    if choices is None:
        return []
    if not isinstance(choices, list):
        raise BadEvent(f"expected a list of choices, got {json_type(choices)}", f"{path}.choices")
    if len(choices) > _MAX_CHOICES:
        raise BadEvent(f"{len(choices)} choices; at most {_MAX_CHOICES} are read", f"{path}.choices")
    return [_answer(choice, said, f"{path}.choices[{i}]") for i, choice in enumerate(choices) if choice is not None]


def _answer(choice: Any, said: Said, path: str) -> Answer:
    if not isinstance(choice, dict):
        raise BadEvent(f"expected a choice, got {json_type(choice)}", path)
    spoken = [(key, choice[key]) for key in ("message", "delta", "text") if choice.get(key)]
    texts = [said.text(value if key == "text" else _turn(value), f"{path}.{key}") for key, value in spoken]
    return Answer("\n".join(text for text in texts if text), index_of(choice))


def _turn(value: Any) -> Any:
    return {"role": "assistant", **value} if isinstance(value, dict) else value


def _choice(index: int, items: Sequence[JsonObject]) -> JsonObject:
    parts = (part for item in items for part in (item.get("message"), item.get("delta")) if part)
    message = merged(part if isinstance(part, dict) else {"content": part} for part in parts)
    text = merged({"text": item["text"]} for item in items if item.get("text"))
    return {"index": index, "message": message, **text}
