"""Request bodies: the turns that a service sent to a model, over any of the APIs."""

from __future__ import annotations

from typing import Any

from monitor.errors import BadEvent
from monitor.events.event import Message
from monitor.events.json_object import JsonObject
from monitor.events.said import Said

_SYSTEM = ("system", "instructions", "system_instruction", "systemInstruction", "system_prompt")
_TURNS = ("messages", "input", "prompt", "contents", "suffix", "text_input")
_OF_TURNS = ("role", "content", "parts", "text")
_ASKED = frozenset((*_SYSTEM, *_TURNS))
# what wraps the request of Gemini's batches and of OpenAI's
_WRAPPERS = ("body", "request", "generateContentRequest")


def is_request(body: object) -> bool:
    """Whether `body` holds turns that a model was asked to continue."""
    return isinstance(body, dict) and not _ASKED.isdisjoint(body)


def request_messages(body: JsonObject, said: Said, path: str) -> list[Message]:
    """The turns in order, with the system prompt first. Raises BadEvent if there is none of the fields with turns.

    Reads `messages` (OpenAI, Anthropic, Ollama), `input` (Responses), `prompt` (completions), `contents` (Gemini) and
    the fields of the system prompt. Definitions of tools and schemas are left out: nobody says them.
    """
    if not is_request(body):
        for key in _WRAPPERS:
            if is_request(body.get(key)):
                return request_messages(body[key], said, f"{path}.{key}")
        raise BadEvent("no messages, prompt, input or contents in the request: was its text logged?", path)
    found: list[Message] = []
    for key in _SYSTEM:
        if key in body and (text := said.text(body[key], f"{path}.{key}")):
            found.append(Message("system", text))
    for key in _TURNS:
        turns = body.get(key)
        if turns is None:
            continue
        # a turn in a list of messages says who speaks; other fields hold what the user asks
        role = None if key == "messages" and isinstance(turns, list) else "user"
        found += _turns(said, turns, f"{path}.{key}", role)
    return found


def _turns(said: Said, value: Any, path: str, role: str | None) -> list[Message]:
    if isinstance(value, list):
        found: list[Message] = []
        for i, item in enumerate(value):
            if isinstance(item, int | float):  # a prompt of the completions API as token ids
                said.unread["tokens"] += 1
            else:
                found += _turns(said, item, f"{path}[{i}]", role)
        return found
    if isinstance(value, dict) and _is_inner_request(value):
        return request_messages(value, said, path)
    return said.messages(value, path, role)


def _is_inner_request(value: JsonObject) -> bool:
    """Whether this is a request inside of a tracer's `input`, rather than a turn."""
    return value.keys().isdisjoint(_OF_TURNS) and any(value.get(key) for key in _ASKED)
