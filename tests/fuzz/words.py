"""Words: texts that occur once in a record, so that each can be looked for in what the parser made of it."""

from __future__ import annotations

import re
from random import Random

_SAID = re.compile(r"w\d+q")
_MEDIA = re.compile(r"m\d+q")
# what has to be escaped or is cut wrongly somewhere: quotes, backslashes, line ends, other scripts, separators
_ENDINGS = ("", ' "said" \\ here\nand on', " é 雨 😀", "\t{[", " \\u0041 \\n", "\u2028\u200b.", " </s> data: x", '\\"')


class Word(str):
    """A text that somebody says. `side` is who is expected to say it: asked, answered, or None if that is open."""

    __slots__ = ("side",)
    side: str | None


class Part(dict):  # type: ignore[type-arg]
    """A part of a message. Text under any key of it is said, also under one that no producer has used yet."""


class Words:
    """Makes words, and the addresses of pictures and recordings, with a number in each."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._count = 0
        self.made: list[Word] = []
        self.levels_left = 350
        """How much deeper the record may be nested; far below what Python's own stack allows."""

    def new(self, side: str | None = None) -> Word:
        """A text with its number at the start."""
        word = Word(f"w{len(self.made)}q{self._chance.choice(_ENDINGS)}")
        word.side = side
        self.made.append(word)
        return word

    def media(self) -> str:
        """Base64 or an address, with a number in it."""
        self._count += 1
        if self._chance.random() < 0.5:
            return f"https://example.com/m{self._count}q.png"
        return f"data:image/png;base64,m{self._count}q" + "UklGRiQAAABXQVZF" * 20

    def recording(self) -> str:
        """Base64 with a number in it."""
        self._count += 1
        return f"m{self._count}q" + "UklGRiQAAABXQVZF" * 20


def said_in(text: str) -> set[str]:
    """The words that are in `text`, by what they start with."""
    return set(_SAID.findall(text))


def media_in(text: str) -> set[str]:
    """The pictures and recordings that are in `text`."""
    return set(_MEDIA.findall(text))
