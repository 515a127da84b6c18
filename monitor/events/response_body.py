"""Response bodies: the answers of a model, over any of the APIs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from monitor.errors import BadEvent
from monitor.events.apis import anthropic, completions, gemini, ollama, openai_chat, openai_responses
from monitor.events.apis.answer import Answer
from monitor.events.json_object import JsonObject, json_type, key_names, read_text
from monitor.events.said import MEDIA_KEYS, THOUGHTS, Said


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
ANSWER_FIELDS = ("response", "output", "completion")
"""Where an answer stands next to its request."""
_OF_MESSAGES = frozenset(("content", "parts", "text", "tool_calls", "role", "value", "refusal"))
_ELSEWHERE = (
    "response",
    "message",
    "item",
    "content_block",
    "delta",
    "content",
    "parts",
    "thinking",
    "text_output",
    "completion",
)
_SPOKEN = (*MEDIA_KEYS, "value", "refusal", "tool_calls", "function_call")
_MARKS = frozenset(("object", "output", "type", "candidates", "promptFeedback", "done", "choices"))
"""A response of any API has one of these keys."""
_FAILED = ("error", "errors", "detail", "promptFeedback", "fault")
_OF_FAILURES = frozenset(
    (*_FAILED, "data", "usage", "usageMetadata", "meta", "metadata", "headers", "prompt_filter_results")
)


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
        return _of_list(body, said, path)
    if not isinstance(body, dict):
        raise BadEvent(f"expected a response, got {json_type(body)}", path)
    return _of_object(body, said, path)


def responses_in(data: JsonObject, said: Said, path: str, text_is_answer: bool = False) -> Response:
    """All answers next to a request: those of `data` itself, if it is a response, and of its fields.

    What the model thought may stand next to a field, and then comes before the first answer. Text that is there twice
    counts once. `text_is_answer` leaves text in a field as it is, also if it is the JSON of a response. Raises BadEvent
    if the first field that holds something is no response.
    """
    own = None if "output" in data and _holds_stream(data) else api_of(data)
    found = [read_response(data, said, path)] if own is not None else []
    for key in ANSWER_FIELDS:
        value = data.get(key)
        if value is None or value == "":
            continue
        as_text, as_list = own == "ollama" and key == "response", own == "openai_responses" and key == "output"
        if (as_text and not isinstance(value, dict)) or (as_list and isinstance(value, list)):
            continue  # it has been read as what it is in that API
        if isinstance(value, str) and text_is_answer:
            found.append(Response((Answer(value),)))
        else:
            found.append(_read_next(value, said, f"{path}.{key}", found))
    candidates = data.get("candidates")
    if own is None and candidates and isinstance(candidates, list | dict):
        # next to a list `output`, the body is no response of either API
        found.append(_read_next({"candidates": candidates}, said, path, found))
    whole = _together(found)
    # a message has thoughts of its own, next to text that is not read here
    beside = own is None and "role" not in data
    return _with_thoughts_of(data, whole, said, path) if beside else whole


def _with_thoughts_of(data: JsonObject, response: Response, said: Said, path: str) -> Response:
    """The response, with what the model thought in the fields of `data` before the first answer."""
    thought = {key: data[key] for key in THOUGHTS if key in data}
    thoughts = said.text(thought, path) if thought else ""
    if not thoughts:
        return response
    first, others = (response.answers[0], response.answers[1:]) if response.answers else (Answer(""), ())
    text = "\n".join(text for text in (thoughts, first.text) if text)
    return replace(response, answers=(replace(first, text=text), *others))


def _together(found: Sequence[Response]) -> Response:
    if len(found) < 2:
        return found[0] if found else Response(())
    texts = dict.fromkeys(answer.text for response in found for answer in response.answers if answer.text)
    answers = [Answer(text) for text in texts]
    first = {name: next((v for v in (getattr(r, name) for r in found) if v), None) for name in ("id", "time", "model")}
    return Response(answers, **first)


def _holds_stream(data: JsonObject) -> bool:
    """Whether `output` has pieces of a stream rather than items of the Responses API."""
    items = data["output"] if isinstance(data.get("output"), list) and data.get("object") != "response" else ()
    typed: dict[str, tuple[str, ...]] = {"openai_responses": ("response.",), "anthropic": ("message_", "content_block")}
    for item in items:
        name = api_of(item)
        # pieces of the other APIs have no type, and items of the Responses API always have one
        if name in typed and str(item.get("type")).startswith(typed[name]):
            return True
        if name is not None and name not in typed and "type" not in item:
            return True
    return False


def _read_next(value: Any, said: Said, path: str, before: Sequence[Response]) -> Response:
    try:
        return read_response(value, said, path)
    except BadEvent:
        if not any(answer.text for response in before for answer in response.answers):
            raise
    # the answer is known: what else is there may be anything, but is not lost
    text = said.text(value, path) if isinstance(value, dict | list) else ""
    return Response((Answer(text),) if text else ())


def _of_list(body: list[Any], said: Said, path: str) -> Response:
    items = list(_flat(body))
    name = next((name for name in map(api_of, items) if name), None)
    if name is None:
        return Response((Answer(said.text(body, path)),))
    pieces = [item for item in items if api_of(item) == name]
    response = _of_api(APIS[name], APIS[name].joined(pieces), said, path)
    # next to the pieces there are signs of life, numbers of tokens and errors, and perhaps something that is said
    empty = not any(answer.text for answer in response.answers)
    texts = [_said_elsewhere(item, said, path) for item in pieces] if empty else []
    texts += [_other_text(item, said, path) for item in items if api_of(item) != name]
    return replace(response, answers=[*response.answers, *(Answer(text) for text in texts if text)])


def _flat(items: list[Any]) -> Iterator[Any]:
    for item in items:
        if isinstance(item, list):
            yield from _flat(item)
        else:
            yield item


def _other_text(item: Any, said: Said, path: str) -> str:
    if not isinstance(item, dict) or item.get("type") in ("ping", "error"):
        return item if isinstance(item, str) else ""
    if api_of(item) is not None:
        return "\n".join(answer.text for answer in read_response(item, said, path).answers)
    return _said_elsewhere(item, said, path) or said.text({"role": "assistant", **item}, path)


def _said_elsewhere(body: JsonObject, said: Said, path: str) -> str:
    """What a body says that has not what the mark of its API stands for."""
    if "role" in body:
        return said.text(body, path)
    keys: tuple[str, ...] = (*_ELSEWHERE, "text", "output")
    if api_of(body) == "openai_responses":  # it describes the format of its text in an object under `text`
        keys = (*_ELSEWHERE, "text") if isinstance(body.get("text"), str | list) else _ELSEWHERE
    texts: list[Any] = [body[key] for key in keys if isinstance(body.get(key), str | list | dict)]
    return said.text([*texts, {key: body[key] for key in _SPOKEN if key in body}], path)


def _of_object(body: JsonObject, said: Said, path: str) -> Response:
    name = api_of(body)
    if name is not None:
        response = _of_api(APIS[name], body, said, path)
        if any(answer.text for answer in response.answers):
            return response
        text = _said_elsewhere(body, said, path)
        return replace(response, answers=(Answer(text),)) if text else response
    if body.get("text_output") is not None:  # the generate endpoint of Triton and KServe
        return Response((Answer(said.text(body["text_output"], f"{path}.text_output")),), id=body.get("id"))
    failed = not body or isinstance(body.get("data"), list) or any(body.get(key) is not None for key in _FAILED)
    if not _OF_MESSAGES.isdisjoint(body):
        message = {key: value for key, value in body.items() if key not in _FAILED}
        return Response((Answer(said.text({"role": "assistant", **message}, path)),), id=body.get("id"))
    if failed:  # or embeddings, which are a list under `data`
        others = {
            key: value for key, value in body.items() if key not in _OF_FAILURES and isinstance(value, dict | list)
        }
        text = said.text({"role": "assistant", "content": [others]}, path) if others else ""
        return Response((Answer(text),) if text else (), id=body.get("id"), model=body.get("model"))
    for key in ("body", "response"):  # as batch APIs and loggers wrap it
        if isinstance(body.get(key), dict | str) and body[key]:
            return _with_thoughts_of(body, read_response(body[key], said, f"{path}.{key}"), said, path)
    raise BadEvent(f"not a response that is read: it has the keys {key_names(body)}", path)


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
    return value if any(api_of(item) is not None or _is_answer(item) for item in items) else None


def _is_answer(body: Any) -> bool:
    """Whether this is a message, or what the generate endpoint of Triton and KServe returns."""
    if not isinstance(body, dict):
        return False
    is_message = body.get("role") == "assistant" and not {"content", "parts"}.isdisjoint(body)
    return is_message or isinstance(body.get("text_output"), str)
