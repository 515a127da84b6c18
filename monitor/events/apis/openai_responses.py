"""OpenAI Responses, whole or as stream events. Mark: `object: response`, a list `output`, or a type `response...`.

Source: OpenAI API reference, "The response object" and "Streaming events".
"""

from __future__ import annotations

from collections.abc import Sequence

from monitor.errors import BadEvent
from monitor.events.apis.answer import Answer
from monitor.events.json_object import JsonObject, json_type
from monitor.events.said import Said

_ENDS = ("response.completed", "response.incomplete", "response.failed")
_STREAMED = "\0streamed"

_OF_OTHERS = ("choices", "candidates", "message", "done")


def is_response(body: JsonObject) -> bool:
    """Whether there is a list of output items, or this is an event of a stream of them."""
    kind = body.get("type")
    streamed = isinstance(kind, str) and kind.startswith("response.")
    marked = streamed or (body.get("object") == "response" and not kind)
    # an empty field means nothing, neither of this API nor of another
    listed = isinstance(body.get("output"), list) and bool(body["output"])
    return (marked or (listed and not kind)) and not any(body.get(key) for key in _OF_OTHERS)


def joined(pieces: Sequence[JsonObject]) -> JsonObject:
    """The last whole response in the stream; if there is none, its items put together from the deltas."""
    wholes = [piece["response"] for piece in pieces if isinstance(piece.get("response"), dict)]
    ended = [piece["response"] for piece in pieces if piece.get("type") in _ENDS and piece.get("response")]
    complete = next((whole for whole in reversed(ended) if isinstance(whole, dict) and whole.get("output")), None)
    if complete is not None:
        return dict(complete)
    items: list[JsonObject] = []
    by_index: dict[str, JsonObject] = {}
    done: set[str] = set()
    # responses that are no events of a stream, and what is of no type that the API has
    apart = [piece for piece in pieces if isinstance(piece.get("output"), list) and piece["output"]]
    others: list[object] = [item for piece in apart for item in piece["output"]]
    for piece in pieces:
        kind, place = str(piece.get("type")), str(piece.get("output_index", 0))
        item, delta = piece.get("item"), piece.get("delta")
        if isinstance(item, dict) and kind.endswith("item.done") and place in by_index:
            by_index[place].clear()
            by_index[place].update(item)
            done.add(place)
        elif isinstance(item, dict):
            by_index[place] = dict(item)
            items.append(by_index[place])
            done |= {place} if kind.endswith("item.done") else set()
        elif isinstance(delta, str) and place not in done:
            if place not in by_index:
                by_index[place] = {"type": "message"}
                items.append(by_index[place])
            _append(by_index[place], f"{kind} {piece.get('content_index')}", delta)
        others += [item] if item and not isinstance(item, dict) else []
        others += [delta] if delta and not isinstance(delta, str) else []
    known = next(iter([*wholes, *apart]), {})
    first = {key: value for key, value in known.items() if key not in (*_OF_OTHERS, "type")}
    return {**first, "object": "response", "output": [*map(_item, items), *others]}


def _append(item: JsonObject, place: str, delta: str) -> None:
    """Arguments and input of calls are one text; other texts are told apart by what they are a part of."""
    key = next((key for key in ("arguments", "input") if key in place), None)
    if key is not None:
        old = item.get(key)
        item[key] = (old if isinstance(old, str) else "") + delta
    else:
        texts = item.setdefault(_STREAMED, {})
        texts[place] = texts.get(place, "") + delta


def _item(item: JsonObject) -> JsonObject:
    """The item with its streamed texts behind what was there from the start."""
    texts = item.pop(_STREAMED, {})
    if not texts:
        return item
    held = item.get("content")
    return {**item, "content": [*(held if isinstance(held, list) else [held]), *texts.values()]}


def answers(body: JsonObject, said: Said, path: str) -> list[Answer]:
    """All output items as one answer: messages, reasoning and calls."""
    if str(body.get("type")).startswith("response.") and not isinstance(body.get("output"), list):
        body = joined([body])
    output = body.get("output")
    if output is None:
        return []
    if not isinstance(output, list):
        raise BadEvent(f"expected a list of output items, got {json_type(output)}", f"{path}.output")
    texts = [said.text(item, f"{path}.output[{i}]") for i, item in enumerate(output)]
    return [Answer("\n".join(text for text in texts if text))] if output else []
