"""Case: one record, and what was said in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

from monitor.events.event import Origin, Record
from monitor.events.parse import AUTO, EVENT_FORMATS
from tests.fuzz.bodies import FORMATS
from tests.fuzz.encoded import plain
from tests.fuzz.envelopes import BINARY_MODE, Headers, dumped, encoded, wrapped
from tests.fuzz.mutations import mutated
from tests.fuzz.words import Word, Words, media_in, said_in

ORIGIN = Origin("t", 0, 0)


@dataclass(frozen=True)
class Case:
    """A record and what is known of it.

    `said` are the words that are in it, by what they start with; `exact` those whose whole text has to be found, on the
    side where they are expected; none if the record was changed after it was built.
    """

    record: Record
    wire_format: str
    name: str
    said: frozenset[str]
    media: frozenset[str]
    whole: bool
    """Whether everything that was said has to be found. If not, because the bytes were cut, only crashes count."""
    exact: tuple[Word, ...] = field(default=())


def make_case(chance: Random) -> Case:
    """A record that `chance` decides everything of."""
    words = Words(chance)
    name = chance.choice(tuple(FORMATS))
    body: Any = FORMATS[name](chance, words)
    faults = chance.choice((0, 0, 0, 1, 1, 1, 1, 2, 3, 5))
    body = mutated(chance, words, body, faults) if faults else body
    if chance.random() < 0.06:
        other = FORMATS[chance.choice(tuple(FORMATS))](chance, words)
        body = [body, other]
    headers: Headers = BINARY_MODE if chance.random() < 0.1 else ()
    if chance.random() < 0.35:
        body = wrapped(chance, body)
    text = dumped(chance, plain(body))
    raw, how = encoded(chance, text)
    wire_format = chance.choice(tuple(EVENT_FORMATS.built_in)) if chance.random() < 0.05 else AUTO
    said = said_in(text)
    exact = tuple(word for word in words.made if word[: word.index("q") + 1] in said)
    as_made = not faults and not how and wire_format == AUTO and name != "stream"
    return Case(
        record=Record(raw, ORIGIN, headers=headers),
        wire_format=wire_format,
        name=name,
        said=frozenset(said),
        media=frozenset(media_in(text)),
        # a format that was named reads what that format has, and nothing else
        whole=how not in ("cut", "flipped") and wire_format == AUTO,
        exact=exact if as_made else (),
    )
