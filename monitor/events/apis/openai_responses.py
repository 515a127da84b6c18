"""OpenAI Responses, whole or as stream events. Mark: `object: response`, a list `output`, or a type `response...`.

Source: OpenAI API reference, "The response object" and "Streaming events".
"""

from __future__ import annotations

from collections.abc import Sequence

from monitor.errors import BadEvent
from monitor.events.apis.answer import Answer
from monitor.events.json_object import JsonObject, json_type
from monitor.events.said import Said


def is_response(body: JsonObject) -> bool:
    """Whether there is a list of output items, or this is an event of a stream of them."""
    kind = body.get("type")
    streamed = isinstance(kind, str) and kind.startswith("response.")
    return body.get("object") == "response" or streamed or ("output" in body and isinstance(body["output"], list))


def joined(pieces: Sequence[JsonObject]) -> JsonObject:
    """The last whole response in the stream; if there is none, its items put together from the deltas."""
    wholes = [piece["response"] for piece in pieces if isinstance(piece.get("response"), dict)]
    wholes += [piece for piece in pieces if piece.get("object") == "response"]
    complete = next((whole for whole in reversed(wholes) if whole.get("output")), None)
    if complete is not None:
        return dict(complete)
    done: dict[tuple[str, ...], JsonObject] = {}
    deltas: dict[tuple[str, ...], str] = {}
    others: list[object] = []  # what is no text
    for piece in pieces:
        place = (str(piece.get("output_index", 0)),)
        if isinstance(piece.get("item"), dict) and str(piece.get("type")).endswith("item.done"):
            done[place] = piece["item"]
        elif isinstance(piece.get("delta"), str):
            whole_place = (*place, str(piece.get("content_index")), str(piece.get("type")))
            deltas[whole_place] = deltas.get(whole_place, "") + piece["delta"]
        elif piece.get("delta"):
            others.append(piece["delta"])
    items = [{"type": "message", "content": [text]} for place, text in deltas.items() if place[:1] not in done]
    items += [{"type": "message", "content": [delta]} for delta in others]
    first = wholes[0] if wholes else {}
    return {**first, "object": "response", "output": [*done.values(), *items]}


def answers(body: JsonObject, said: Said, path: str) -> list[Answer]:
    """All output items as one answer: messages, reasoning and calls."""
    if str(body.get("type")).startswith("response."):
        body = joined([body])
    output = body.get("output")
    if output is None:
        return []
    if not isinstance(output, list):
        raise BadEvent(f"expected a list of output items, got {json_type(output)}", f"{path}.output")
    texts = [said.text(item, f"{path}.output[{i}]") for i, item in enumerate(output)]
    return [Answer("\n".join(text for text in texts if text))] if output else []
