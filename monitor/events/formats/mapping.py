"""A mapping from the config: where any other producer's bodies hold what people and models said.

Everything is read as in the other formats: values are messages, parts, request bodies or responses of any API.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from monitor.errors import BadEvent
from monitor.events.apis.answer import Answer
from monitor.events.context import Context
from monitor.events.draft import Draft
from monitor.events.event import Event, Message
from monitor.events.json_object import JsonObject, read_text
from monitor.events.json_path import Found, JsonPath
from monitor.events.request_body import is_request, request_messages
from monitor.events.response_body import read_response
from monitor.events.said import Said

HEADER = "header:"
"""Starts a place that is a Kafka header rather than a path in the body."""
_NOTHING: tuple[object, ...] = (None, "", [], {})
_KEYS_SHOWN = 8
_JSON_LIKE = re.compile(r"\s*(\{|\[\s*[\[{\"\]]|(data|event):)")


@dataclass(frozen=True)
class Header:
    """A header of the record, as text."""

    name: str

    @property
    def text(self) -> str:
        """As it is written in the config."""
        return f"{HEADER}{self.name}"


Place = JsonPath | Header


def place(text: str) -> Place:
    """The path or header that `text` names. Raises ValueError if it is neither."""
    if not text.startswith(HEADER):
        return JsonPath(text)
    if not text.removeprefix(HEADER):
        raise ValueError(f"{text!r} names no header: write {HEADER}NAME")
    return Header(text.removeprefix(HEADER))


@dataclass(frozen=True)
class MappingFormat:
    """An EventFormat. Of messages, system, prompt and response, everything found counts; of the rest, the first."""

    messages: Sequence[Place] = ()
    role: Sequence[Place] = ()
    content: Sequence[Place] = ()
    roles: Mapping[str, str] = field(default_factory=dict)
    system: Sequence[Place] = ()
    prompt: Sequence[Place] = ()
    response: Sequence[Place] = ()
    id: Sequence[Place] = ()
    time: Sequence[Place] = ()
    model: Sequence[Place] = ()
    tenant: Sequence[Place] = ()
    traceparent: Sequence[Place] = ()
    attributes: Mapping[str, Sequence[Place]] = field(default_factory=dict)
    decode: Sequence[JsonPath] = ()
    required: Sequence[str] = ()

    def recognises(self, data: JsonObject) -> bool:  # noqa: ARG002
        """Always: a mapping reads every body."""
        return True

    def parse(self, data: JsonObject, context: Context) -> tuple[Event, ...]:
        """One event for each answer. Raises BadEvent with the path if a required one finds nothing."""
        said = Said()
        for path in self.decode:
            path.replace_texts(data, lambda text, at: _decoded(text, said, context.path + at[1:]))
        self._check_required(data, context)
        attributes = {name: self._first(places, data, context) for name, places in self.attributes.items()}
        attributes["tenant"] = self._first(self.tenant, data, context)
        draft = Draft(
            messages=self._messages(data, said, context),
            answers=self._answers(data, said, context),
            ids=_values(self.id, data, context),
            times=_values(self.time, data, context),
            models=_values(self.model, data, context),
            attributes=({name: value for name, value in attributes.items() if value is not None},),
            traceparent=self._first(self.traceparent, data, context),
            said=said,
        )
        return draft.events(context)

    def _check_required(self, data: JsonObject, context: Context) -> None:
        for name in self.required:
            _require(name, getattr(self, name), data, context)
        turns = [*self.messages, *self.prompt]
        if turns and not _found(turns, data, context):
            name = "messages" if self.messages else "prompt"
            _require(name, getattr(self, name), data, context)
        if not turns:
            _require("response", self.response, data, context)

    def _messages(self, data: JsonObject, said: Said, context: Context) -> list[Message]:
        texts = [said.text(found.value, found.path) for found in _found(self.system, data, context)]
        turns = [Message("system", text) for text in texts if text]
        for found in _found(self.messages, data, context):
            if self.role or self.content:
                turns += [self._turn(item, said, path, context) for item, path in _items(found)]
            elif is_request(found.value):
                turns += request_messages(found.value, said, found.path)
            else:
                turns += said.messages(found.value, found.path)
        for found in _found(self.prompt, data, context):
            body = found.value if is_request(found.value) else {"prompt": found.value}
            turns += request_messages(body, said, found.path)
        return turns

    def _turn(self, item: Any, said: Said, path: str, context: Context) -> Message:
        """A message whose role and text stand under names of the producer's own."""
        if not isinstance(item, dict):
            return said.message(item, path)
        made = dict(item)
        role = self._first(self.role, item, context)
        if role is not None:
            made["role"] = self.roles.get(str(role).strip().lower(), role)
        if self.content:
            texts = [found.value for found in _found(self.content, item, context)]
            made = {"role": made.get("role"), "content": texts}
        return said.message(made, path)

    def _answers(self, data: JsonObject, said: Said, context: Context) -> list[Answer]:
        """What the places of `response` find for an answer is one answer, each text once."""
        columns = [
            [answer for found in _found([where], data, context) for answer in _response(found, said)]
            for where in self.response
        ]
        columns = [column for column in columns if column]
        if not columns:  # the call failed, or what was to be decoded is plain text
            return [Answer(text) for text in _stopped_at_text(self.response, data)]
        if len(columns) == 1:
            return columns[0]
        rows = ([answer.text for answer in row if answer and answer.text] for row in zip_longest(*columns))
        return [Answer("\n".join(dict.fromkeys(texts))) for texts in rows]

    @staticmethod
    def _first(places: Sequence[Place], data: Any, context: Context) -> Any:
        return next(iter(_values(places, data, context)), None)


def _items(found: Found) -> Sequence[tuple[Any, str]]:
    if isinstance(found.value, list):
        return [(item, f"{found.path}[{i}]") for i, item in enumerate(found.value)]
    return [(found.value, found.path)]


def _stopped_at_text(places: Sequence[Place], data: JsonObject) -> list[str]:
    """The first text that a path wants to go into."""
    reached = (where.last_reached(data).value for where in places if isinstance(where, JsonPath))
    return [value for value in reached if isinstance(value, str) and value.strip()][:1]


def _response(found: Found, said: Said) -> Sequence[Answer]:
    try:
        return read_response(found.value, said, found.path).answers
    except BadEvent:  # the config says that a model said this, whatever it looks like
        return (Answer(said.text(found.value, found.path)),)


def _found(places: Sequence[Place], data: Any, context: Context) -> list[Found]:
    """Everything that is not empty at the places, in their order."""
    found: list[Found] = []
    for where in places:
        if isinstance(where, Header):
            found.append(Found(context.record.header(where.name), where.text))
        else:
            found += [Found(one.value, context.path + one.path[1:]) for one in where.find(data)]
    return [one for one in found if one.value not in _NOTHING]


def _values(places: Sequence[Place], data: Any, context: Context) -> list[Any]:
    return [found.value for found in _found(places, data, context)]


def _require(name: str, places: Sequence[Place], data: JsonObject, context: Context) -> None:
    if _found(places, data, context):
        return
    first = places[0]
    others = "".join(f", nor does {other.text}" for other in places[1:])
    path = first.text if isinstance(first, Header) else context.path + first.text[1:]
    raise BadEvent(f"finds nothing (events.mapping.{name}){others}{_hint(first, data)}", path)


def _hint(where: Place, data: JsonObject) -> str:
    """What is there instead, as far as the path goes."""
    if isinstance(where, Header):
        return ""
    reached = where.last_reached(data)
    if isinstance(reached.value, dict):
        keys = ", ".join(sorted(reached.value)[:_KEYS_SHOWN]) or "none"
        return f"; the keys of {reached.path} are: {keys}"
    if isinstance(reached.value, str) and reached.value.strip()[:1] in ("{", "["):
        return f"; {reached.path} is text of JSON: name it under events.mapping.decode"
    return f"; {reached.path} is there, and nothing below it"


def _decoded(text: str, said: Said, path: str) -> Any:
    """`text` as JSON, or as a list if it is a stream. Text of something else, such as an error page, stays.

    Raises BadEvent if it is JSON that is broken: judging half of it would look like judging all.
    """
    try:
        return read_text(text, said.repaired, path)
    except BadEvent as e:
        if _JSON_LIKE.match(text):
            raise BadEvent(e.reason, path, e.kind) from None
        return text
