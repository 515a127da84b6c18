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
from monitor.events.placed_values import Place, PlacedValues
from monitor.events.request_body import is_request, request_messages
from monitor.events.response_body import read_response
from monitor.events.said import Said

_JSON_LIKE = re.compile(r"\s*(\{|\[\s*[\[{\"\]]|(data|event):)")


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
        body = PlacedValues(data, context)
        self._check_required(body)
        attributes = {name: body.first(places) for name, places in self.attributes.items()}
        attributes["tenant"] = body.first(self.tenant)
        draft = Draft(
            messages=self._messages(body, said),
            answers=self._answers(body, said),
            ids=body.values(self.id),
            times=body.values(self.time),
            models=body.values(self.model),
            attributes=({name: value for name, value in attributes.items() if value is not None},),
            traceparent=body.first(self.traceparent),
            said=said,
        )
        return draft.events(context)

    def _check_required(self, body: PlacedValues) -> None:
        for name in self.required:
            body.require(name, getattr(self, name))
        turns = "messages" if self.messages else "prompt"
        if not self.messages and not self.prompt:
            body.require("response", self.response)
        elif not body.found((*self.messages, *self.prompt)):
            body.require(turns, getattr(self, turns))

    def _messages(self, body: PlacedValues, said: Said) -> list[Message]:
        texts = [said.text(found.value, found.path) for found in body.found(self.system)]
        turns = [Message("system", text) for text in texts if text]
        for found in body.found(self.messages):
            if self.role or self.content:
                turns += [self._turn(item, said, path, body.context) for item, path in _items(found)]
            elif is_request(found.value):
                turns += request_messages(found.value, said, found.path)
            else:
                turns += said.messages(found.value, found.path)
        for found in body.found(self.prompt):
            request = found.value if is_request(found.value) else {"prompt": found.value}
            turns += request_messages(request, said, found.path)
        spoken = any(turn.content for turn in turns) or said.unread.total()
        if turns and not spoken:
            # a response may still be there, and would be judged as if nobody had asked
            first = next(iter(body.found((*self.messages, *self.prompt, *self.system))))
            raise BadEvent(
                "no text in what is there: name where a message has its text (events.mapping.content)", first.path
            )
        return turns

    def _turn(self, item: Any, said: Said, path: str, context: Context) -> Message:
        """A message whose role and text stand under names of the producer's own."""
        if not isinstance(item, dict):
            return said.message(item, path)
        made, message = dict(item), PlacedValues(item, context)
        role = message.first(self.role)
        if role is not None:
            made["role"] = self.roles.get(str(role).strip().lower(), role)
        if self.content:
            made = {"role": made.get("role"), "content": message.values(self.content)}
        return said.message(made, path)

    def _answers(self, body: PlacedValues, said: Said) -> list[Answer]:
        """What the places of `response` find for an answer is one answer, each text once."""
        columns = [
            [answer for found in body.found([where]) for answer in _response(found, said)] for where in self.response
        ]
        columns = [column for column in columns if column]
        if not columns:  # the call failed, or what was to be decoded is plain text
            return [Answer(text) for text in body.texts_on_the_way(self.response)]
        if len(columns) == 1:
            return columns[0]
        rows = ([answer.text for answer in row if answer and answer.text] for row in zip_longest(*columns))
        return [Answer("\n".join(dict.fromkeys(texts))) for texts in rows]


def _items(found: Found) -> Sequence[tuple[Any, str]]:
    if isinstance(found.value, list):
        return [(item, f"{found.path}[{i}]") for i, item in enumerate(found.value)]
    return [(found.value, found.path)]


def _response(found: Found, said: Said) -> Sequence[Answer]:
    try:
        return read_response(found.value, said, found.path).answers
    except BadEvent:  # the config says that a model said this, whatever it looks like
        return (Answer(said.text(found.value, found.path)),)


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
