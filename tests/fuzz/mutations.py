"""Mutations: what goes wrong in records. None of them moves a word to where nobody speaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from random import Random
from typing import Any

from tests.fuzz.encoded import Encoded, Key
from tests.fuzz.turns import EXTRAS, PARTS, ROLES, message
from tests.fuzz.words import Part, Word, Words

Place = tuple[Any, Any]
"""A container, and the key or index of a value in it."""
_SCALARS: Sequence[Any] = (
    None,
    True,
    False,
    0,
    -1,
    3.5,
    10**30,
    float("nan"),
    float("inf"),
    "",
    "x",
    "5",
    "\ud800",
    [],
    {},
)
_MARKS: Sequence[tuple[str, Any]] = (
    ("choices", []),
    ("choices", None),
    ("candidates", []),
    ("promptFeedback", None),
    ("object", "response"),
    ("object", "chat.completion"),
    ("object", "text_completion"),
    ("type", "message"),
    ("type", "response.created"),
    ("type", "content_block_delta"),
    ("type", "span-create"),
    ("done", True),
    ("output", []),
    ("ai", {}),
    ("ai", None),
    ("batch", []),
    ("body", {}),
    ("call_type", "completion"),
    ("llm_summary", {}),
    ("conversations", []),
    ("resourceSpans", []),
    ("specversion", None),
    ("schema", {}),
    ("request", None),
    ("request", {}),
    ("response", None),
    ("messages", []),
    ("messages", None),
    ("prompt", None),
    ("error", None),
    ("error", "timeout"),
    ("data", None),
    ("id", "x"),
    ("latencies", {}),
    ("text_output", None),
)


def places_in(value: Any) -> list[Place]:
    """Every place in `value`, also in what will be text of JSON."""
    found: list[Place] = []
    left = [value]
    while left:
        here = left.pop()
        if isinstance(here, dict):
            found += [(here, key) for key in here]
            left += here.values()
        elif isinstance(here, list):
            found += [(here, i) for i in range(len(here))]
            left += here
        elif isinstance(here, Encoded):
            left.append(here.value)
    return found


# keys whose value decides what stands next to it: with another one, nobody speaks there
_NAMES = ("key", "name", "eventName")


def _at(place: Place) -> Any:
    return place[0][place[1]]


def _some(chance: Random, places: list[Place], wanted: Callable[[Place], bool]) -> Place | None:
    """A place of a kind, if a few tries find one."""
    for _ in range(12):
        place = chance.choice(places)
        try:
            if place[1] not in _NAMES and wanted(place):
                return place
        except (KeyError, IndexError):  # gone since
            continue
    return None


def _drop(chance: Random, words: Words, places: list[Place]) -> None:
    if place := _some(chance, places, lambda p: _at(p) is not p):
        del place[0][place[1]]


def _scalar(chance: Random, words: Words, places: list[Place]) -> None:
    """Another type, or no value, for what nobody says."""
    place = _some(chance, places, lambda p: not isinstance(_at(p), dict | list | Word | Encoded))
    if place:
        place[0][place[1]] = copy(chance.choice(_SCALARS))


def _emptied(chance: Random, words: Words, places: list[Place]) -> None:
    if place := _some(chance, places, lambda p: isinstance(_at(p), dict | list | Word | Encoded)):
        place[0][place[1]] = chance.choice((None, "", [], {}, 0, "x", False))


def _reshaped(chance: Random, words: Words, places: list[Place]) -> None:
    """A word in another shape than its place has."""
    place = _some(chance, places, lambda p: isinstance(_at(p), Word))
    if place is None:
        return
    word = _at(place)
    place[0][place[1]] = chance.choice(
        (
            [word],
            [[word]],
            [None, word, 5, True],
            {"text": word},
            {"value": word},
            Part(type="text", text=word),
            Part(type="a_kind_of_next_year", says=word),
            {"a": {"b": [word]}},
            {"content": [Part(type="text", text=word)]},
            {"role": "user", "content": word},
            Encoded({"a": word}),
            Encoded([word]),
            Encoded(word),
            word + "\udc00",
            [word, {"type": "text", "text": words.new()}],
        )
    )


def _junk(chance: Random, words: Words, places: list[Place]) -> None:
    """Something else in a list."""
    if place := _some(chance, places, lambda p: isinstance(_at(p), list)):
        here: list[Any] = _at(place)
        here.insert(chance.randrange(len(here) + 1), chance.choice((None, 5, True, "x", "", {}, [], [[]], {"a": None})))


def _spoken(chance: Random, words: Words, places: list[Place]) -> None:
    """One more part or turn, where there are some."""
    place = _some(chance, places, lambda p: isinstance(p[0], list) and isinstance(_at(p), Part | Word))
    if place:
        place[0].append(chance.choice(PARTS)(words, ""))
    elif place := _some(
        chance, places, lambda p: isinstance(p[0], list) and isinstance(_at(p), dict) and "role" in _at(p)
    ):
        place[0].insert(place[1], message(chance, words, ""))


def _more(chance: Random, words: Words, places: list[Place]) -> None:
    """What else a message may have next to its content."""
    if place := _some(chance, places, lambda p: isinstance(_at(p), dict) and "role" in _at(p)):
        _at(place).update(chance.choice(EXTRAS)(words, ""))


def _twice(chance: Random, words: Words, places: list[Place]) -> None:
    if place := _some(chance, places, lambda p: isinstance(p[0], dict)):
        held = _at(place)
        place[0][Key(place[1])] = words.new() if isinstance(held, Word) else chance.choice((held, None, "x", []))


def _nested(chance: Random, words: Words, places: list[Place]) -> None:
    """Many levels around a word, or for what nobody says."""
    place = _some(chance, places, lambda p: not isinstance(_at(p), dict | list | Encoded))
    if place:
        made = _at(place)
        depth = min(chance.choice((2, 5, 30, 120, 300)), words.levels_left)
        words.levels_left -= depth
        for _ in range(depth):
            made = [made] if chance.random() < 0.7 else {"a": made}
        place[0][place[1]] = made


def _renamed(chance: Random, words: Words, places: list[Place]) -> None:
    """A key of a part that no producer uses yet."""
    place = _some(chance, places, lambda p: isinstance(p[0], Part) and isinstance(_at(p), Word))
    if place:
        held = place[0].pop(place[1])
        place[0][chance.choice(("says", "body", "message", "Text", "new key"))] = held


def _marked(chance: Random, words: Words, places: list[Place]) -> None:
    """A field that another format is recognised by."""
    place = _some(chance, places, lambda p: isinstance(_at(p), dict) and not isinstance(_at(p), Part))
    if place:
        key, value = chance.choice(_MARKS)
        _at(place).setdefault(key, copy(value))


def _role(chance: Random, words: Words, places: list[Place]) -> None:
    place = _some(chance, places, lambda p: p[1] in ("role", "from"))
    if place:
        place[0][place[1]] = chance.choice((*ROLES, None, 5, [], {}, "USER ", "x" * 200))


def _as_text(chance: Random, words: Words, places: list[Place]) -> None:
    """An object or a list as text of JSON."""
    if place := _some(chance, places, lambda p: isinstance(_at(p), dict | list) and not isinstance(p[1], int)):
        place[0][place[1]] = Encoded(_at(place))


def _as_object(chance: Random, words: Words, places: list[Place]) -> None:
    if place := _some(chance, places, lambda p: isinstance(_at(p), Encoded) and _at(p).wrap is None):
        place[0][place[1]] = _at(place).value


def _listed(chance: Random, words: Words, places: list[Place]) -> None:
    """A list around an object, or the first of a list in its place."""
    place = _some(chance, places, lambda p: isinstance(_at(p), dict | list))
    if place:
        held = _at(place)
        place[0][place[1]] = held[0] if isinstance(held, list) and held else [held]


MUTATIONS: Sequence[Callable[[Random, Words, list[Place]], None]] = (
    _drop,
    _drop,
    _scalar,
    _scalar,
    _emptied,
    _reshaped,
    _reshaped,
    _junk,
    _spoken,
    _more,
    _twice,
    _nested,
    _renamed,
    _marked,
    _marked,
    _role,
    _as_text,
    _as_object,
    _listed,
)


def mutated(chance: Random, words: Words, body: Any, count: int) -> Any:
    """`body` with `count` faults."""
    holder = [body]
    for _ in range(count):
        # the body itself is a place too
        chance.choice(MUTATIONS)(chance, words, [(holder, 0), *places_in(body)])
        if not holder:
            return None
        body = holder[0]
    return body
