"""PlacedValues: what the paths and headers that a config names find in a body."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from monitor.errors import BadEvent
from monitor.events.context import Context
from monitor.events.json_object import JsonObject
from monitor.events.json_path import Found, JsonPath

HEADER = "header:"
"""Starts a place that is a Kafka header rather than a path in the body."""
_NOTHING: tuple[object, ...] = (None, "", [], {})
_KEYS_SHOWN = 8
_KEY_CHARS = 64


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


class PlacedValues:
    """What places find in a body, or in a message of it; each place is looked up once."""

    def __init__(self, data: JsonObject, context: Context) -> None:
        self.context = context
        self._data = data
        self._known: dict[Place, list[Found]] = {}

    def found(self, places: Sequence[Place]) -> list[Found]:
        """Everything that is not empty at the places, in their order."""
        for where in places:
            if where not in self._known:
                self._known[where] = [one for one in self._look_up(where) if one.value not in _NOTHING]
        return [one for where in places for one in self._known[where]]

    def values(self, places: Sequence[Place]) -> list[Any]:
        """The values of `found`."""
        return [found.value for found in self.found(places)]

    def first(self, places: Sequence[Place]) -> Any:
        """The first value; None if there is none."""
        return next(iter(self.values(places)), None)

    def texts_on_the_way(self, places: Sequence[Place]) -> list[str]:
        """The first text that a path wants to go into."""
        reached = (where.last_reached(self._data).value for where in places if isinstance(where, JsonPath))
        return [value for value in reached if isinstance(value, str) and value.strip()][:1]

    def require(self, name: str, places: Sequence[Place]) -> None:
        """Raises BadEvent if nothing is there. `name` is the key in the config."""
        if self.found(places):
            return
        first = places[0]
        others = "".join(f", nor does {other.text}" for other in places[1:])
        path = first.text if isinstance(first, Header) else self.context.path + first.text[1:]
        raise BadEvent(f"finds nothing (events.mapping.{name}){others}{self._hint(first)}", path)

    def _hint(self, where: Place) -> str:
        """What is there instead, as far as the path goes."""
        if isinstance(where, Header):
            return ""
        reached = where.last_reached(self._data)
        if isinstance(reached.value, dict):
            keys = ", ".join(key[:_KEY_CHARS] for key in sorted(reached.value)[:_KEYS_SHOWN]) or "none"
            return f"; the keys of {reached.path} are: {keys}"
        if isinstance(reached.value, str) and reached.value.strip()[:1] in ("{", "["):
            return f"; {reached.path} is text of JSON: name it under events.mapping.decode"
        return f"; {reached.path} is there, and nothing below it"

    def _look_up(self, where: Place) -> list[Found]:
        if isinstance(where, Header):
            return [Found(self.context.record.header(where.name), where.text)]
        return [Found(one.value, self.context.path + one.path[1:]) for one in where.find(self._data)]
