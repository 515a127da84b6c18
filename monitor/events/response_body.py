"""Response bodies: the answers of a model, over any of the APIs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from monitor.errors import BadEvent
from monitor.events.apis import anthropic, completions, gemini, ollama, openai_chat, openai_responses
from monitor.events.apis.answer import Answer
from monitor.events.json_object import JsonObject, json_type, read_text
from monitor.events.said import Said


class Api(Protocol):
    """What one API's responses look like. A module with these functions is one. Pure: no I/O."""

    def is_response(self, body: JsonObject) -> bool:
        """Whether `body` has the marks of this API's responses, or of a piece of a streamed one."""

    def joined(self, pieces: Sequence[JsonObject]) -> JsonObject:
        """The response whose streamed pieces these are, in order."""

    def answers(self, body: JsonObject, said: Said, path: str) -> list[Answer]:
        """The answers in a response; none if it was blocked. Raises BadEvent with the path of the first fault."""


# the most specific marks first
APIS: dict[str, Api] = {
    "openai_responses": openai_responses,
    "anthropic": anthropic,
    "gemini": gemini,
    "ollama": ollama,
    "completions": completions,
    "openai": openai_chat,
}
_MARKS = frozenset(("object", "output", "type", "candidates", "promptFeedback", "done", "choices"))
"""A response of any API has one of these keys."""
_FAILED = ("error", "errors", "detail", "promptFeedback", "fault")


@dataclass(frozen=True)
class Response:
    """What is known of a response: its answers, and the fields that an event can use."""

    answers: Sequence[Answer]
    id: object = None
    time: object = None
    model: object = None


def api_of(body: object) -> str | None:
    """The name of the API that `body` is a response of, or a piece of a streamed one."""
    if not isinstance(body, dict) or _MARKS.isdisjoint(body):
        return None
    for name, api in APIS.items():
        if api.is_response(body):
            return name
    return None


def read_response(body: Any, said: Said, path: str) -> Response:
    """The answers in `body`: a response, its streamed pieces, the JSON of either, a message or text.

    A call that failed or was blocked has none. Raises BadEvent if `body` is nothing of the kind.
    """
    if body is None:
        return Response(())
    if isinstance(body, str):
        decoded = _decoded(body)
        if decoded is None:
            return Response((Answer(body),) if body else ())
        return read_response(decoded, said, path)
    if isinstance(body, list):
        pieces = [item for item in body if isinstance(item, dict)]
        name = next((name for name in map(api_of, pieces) if name), None)
        if name is None:
            return Response((Answer(said.text(body, path)),))
        return _of_api(APIS[name], APIS[name].joined(pieces), said, path)
    if not isinstance(body, dict):
        raise BadEvent(f"expected a response, got {json_type(body)}", path)
    return _of_object(body, said, path)


def _of_object(body: JsonObject, said: Said, path: str) -> Response:
    name = api_of(body)
    if name is not None:
        return _of_api(APIS[name], body, said, path)
    if "text_output" in body:  # the generate endpoint of Triton and KServe
        return Response((Answer(said.text(body["text_output"], f"{path}.text_output")),), id=body.get("id"))
    if not body or "data" in body or any(body.get(key) is not None for key in _FAILED):  # data: embeddings
        return Response((), id=body.get("id"), model=body.get("model"))
    if not {"content", "parts", "text", "tool_calls", "role", "value", "refusal"}.isdisjoint(body):
        return Response((Answer(said.text({"role": "assistant", **body}, path)),), id=body.get("id"))
    for key in ("body", "response"):  # as batch APIs and loggers wrap it
        if isinstance(body.get(key), dict | str) and body[key]:
            return read_response(body[key], said, f"{path}.{key}")
    keys = ", ".join(sorted(body)[:8])
    raise BadEvent(f"not a response that is read: it has the keys {keys}", path)


def _of_api(api: Api, body: JsonObject, said: Said, path: str) -> Response:
    if not api.is_response(body):
        body = api.joined([body])
    inner = body["response"] if isinstance(body.get("response"), dict) else body
    return Response(
        api.answers(body, said, path),
        id=inner.get("id") or inner.get("responseId"),
        time=next((inner[key] for key in ("created", "created_at", "createTime") if inner.get(key)), None),
        model=inner.get("model") or inner.get("modelVersion"),
    )


def _decoded(text: str) -> Any:
    """The response or the stream that `text` is the JSON of; None if it is just text."""
    try:
        value = read_text(text, Counter())
    except BadEvent:
        return None
    items = value if isinstance(value, list) else [value]
    return value if any(api_of(item) is not None for item in items) else None
