"""Anthropic Messages, whole or as stream events. Mark: `type: message`, or the type of a stream event.

Source: Anthropic API reference, "Messages" and "Streaming messages".
"""

from __future__ import annotations

from collections.abc import Sequence

from monitor.events.apis.answer import Answer
from monitor.events.json_object import JsonObject
from monitor.events.said import Said

_STREAMED = ("message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta")
_EVENTS = (*_STREAMED, "message_stop")
_OF_OTHERS = ("choices", "candidates", "done")
# where each kind of delta goes in its block
_DELTAS = {"text": "text", "thinking": "thinking", "partial_json": "input"}


def is_response(body: JsonObject) -> bool:
    """Whether this is a message, or an event of the stream of one."""
    kind = body.get("type")
    streamed = kind in _EVENTS and not any(body.get(key) for key in _OF_OTHERS)
    return streamed or (kind == "message" and body.get("role") == "assistant" and "content" in body)


def joined(pieces: Sequence[JsonObject]) -> JsonObject:
    """The message that the events build up block by block."""
    message: JsonObject = {"type": "message", "role": "assistant"}
    blocks: list[JsonObject] = []
    by_index: dict[str, JsonObject] = {}
    others: list[JsonObject] = []  # what is of no type that the API has
    for piece in pieces:
        if isinstance(piece.get("message"), dict):
            message = {**message, **piece["message"]}
        elif piece.get("type") == "message":
            return dict(piece)
        elif piece.get("message"):
            others.append({"content": piece["message"]})
        block, delta = piece.get("content_block"), piece.get("delta")
        at = str(piece.get("index", 0))
        if isinstance(block, dict):
            by_index[at] = dict(block)
            blocks.append(by_index[at])
        elif block:
            others.append({"content": block})
        if isinstance(delta, dict):
            if at not in by_index:
                by_index[at] = {}
                blocks.append(by_index[at])
            here = by_index[at]
            for key, place in _DELTAS.items():
                if isinstance(delta.get(key), str):
                    old = here.get(place)
                    here[place] = (old if isinstance(old, str) else "") + delta[key]
                elif delta.get(key):
                    others.append({key: delta[key]})
        elif delta:
            others.append({"delta": delta})
    held = message.get("content")
    held = held if isinstance(held, list) else [held]
    return {**message, "type": "message", "role": "assistant", "content": [*held, *blocks, *others]}


def answers(body: JsonObject, said: Said, path: str) -> list[Answer]:
    """All content blocks as one answer."""
    if body.get("type") in _EVENTS:
        body = joined([body])
    return [Answer(said.text({**body, "role": "assistant"}, path))]
