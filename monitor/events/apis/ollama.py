"""Ollama chat and generate, whole or as streamed lines. Mark: `done` next to `message` or `response`.

Source: Ollama API documentation, "Generate a chat completion" and "Generate a completion".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monitor.events.apis.answer import Answer
from monitor.events.apis.pieces import items_of, merged
from monitor.events.json_object import JsonObject
from monitor.events.said import Said


def is_response(body: JsonObject) -> bool:
    """Whether a message or text says if it is done."""
    return "done" in body and not {"message", "response"}.isdisjoint(body)


def joined(pieces: Sequence[JsonObject]) -> JsonObject:
    """One response whose texts are put together."""
    whole: JsonObject = dict(pieces[0]) if pieces else {}
    messages = [_message(piece["message"]) for piece in pieces if piece.get("message")]
    if messages:
        whole["message"] = merged(messages)
        calls = [call for m in messages for call in items_of(m.get("tool_calls")) if isinstance(call, dict)]
        if calls:
            whole["message"]["tool_calls"] = calls
    whole |= merged({key: piece[key] for key in ("response", "thinking") if piece.get(key)} for piece in pieces)
    return whole


def answers(body: JsonObject, said: Said, path: str) -> list[Answer]:
    """The message of a chat, or the text of a completion."""
    spoken = {"thinking": body.get("thinking"), "content": body.get("response"), "role": "assistant"}
    texts = [said.text(spoken, f"{path}.response")]
    if body.get("message"):
        texts.append(said.text({"role": "assistant", **_message(body["message"])}, f"{path}.message"))
    text = "\n".join(text for text in texts if text)
    return [Answer(text)] if text else []


def _message(value: Any) -> JsonObject:
    """The message; what is no object is its content."""
    return value if isinstance(value, dict) else {"content": value}
