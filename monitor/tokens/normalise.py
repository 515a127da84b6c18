"""Normalised: text without what hides it from a model but not from a reader, with the way back to the original."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

# look-alikes of Latin letters, from Unicode's confusables (UTS 39)
_CYRILLIC = dict(zip("аеорсухіѕјԁһԛԝѵӏАВЕКМНОРСТУХІЅЈԌԚԜ", "aeopcyxisjdhqwvlABEKMHOPCTYXISJGQW", strict=True))
_GREEK = dict(zip("αικνορυΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "aikvopuABEZHIKMNOPTYX", strict=True))
_LOOK_ALIKES = {**_CYRILLIC, **_GREEK}
_OTHER_SCRIPTS = re.compile("[\u0370-\u052f]")
_WORD = re.compile(r"[^\W\d_]+")
_LATIN = re.compile("[A-Za-z]")
# control (not tab and line breaks) and format characters, tags, variation selectors, letters in other shapes
_SUSPECTS = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff"
    "\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\u24b6-\u24e9\U0001d400-\U0001d7ff\u2100-\u214f]"
)
_TAG_OFFSET = 0xE0000
_SHAPES = ("<font>", "<wide>", "<circle>")


@dataclass(frozen=True)
class Normalised:
    """`positions[i]` is the character of the original that character i of `text` stands for."""

    text: str
    positions: tuple[int, ...]

    def original_span(self, start: int, end: int) -> tuple[int, int]:
        """Characters [start, end) of `text` as characters of the original, hidden ones in between included."""
        if start >= end:
            at = self.positions[start] if start < len(self.positions) else 0
            return at, at
        return self.positions[start], self.positions[end - 1] + 1


def normalised(text: str) -> Normalised | None:
    """`text` as a person reads it; None if nothing has to change.

    Zero-width, format and control characters go; tag characters, full-width letters, letters in mathematical or circled
    shapes, and Cyrillic and Greek look-alikes in Latin words become the letters that they look like. Joiners and
    variation selectors stay in scripts and emoji that need them.
    """
    if text.isascii() and _SUSPECTS.search(text) is None:
        return None
    replaced = _look_alikes(text)
    for found in _SUSPECTS.finditer(text):
        at = found.start()
        new = _replacement(text, at)
        if new != text[at]:
            replaced[at] = new
    if not replaced:
        return None
    parts: list[str] = []
    positions: list[int] = []
    for at, char in enumerate(text):
        new = replaced.get(at, char)
        parts.append(new)
        positions += [at] * len(new)
    return Normalised("".join(parts), tuple(positions))


def _replacement(text: str, at: int) -> str:
    char = text[at]
    code = ord(char)
    if 0xE0020 <= code <= 0xE007E:
        return chr(code - _TAG_OFFSET)
    if char in "\u200c\u200d" or 0xFE00 <= code <= 0xFE0F:
        return char if _belongs(text, at) else ""
    if unicodedata.category(char) in ("Cc", "Cf", "Mn", "Lo", "Cn"):
        return ""
    return _plain_shape(char)


def _belongs(text: str, at: int) -> bool:
    """Whether a joiner or a variation selector follows a character of a script or an emoji that uses it."""
    return at > 0 and ord(text[at - 1]) >= 0x0590 and not 0x2000 <= ord(text[at - 1]) <= 0x206F


@lru_cache(maxsize=4096)
def _plain_shape(char: str) -> str:
    plain = unicodedata.normalize("NFKC", char)
    in_a_shape = unicodedata.decomposition(char).startswith(_SHAPES)
    return plain if in_a_shape and plain.isascii() and plain.isalnum() else char


def _look_alikes(text: str) -> dict[int, str]:
    """The letters to replace by position: in words that mix scripts, or in all if no other letter is of the script."""
    letters = _OTHER_SCRIPTS.findall(text)
    if not letters:
        return {}
    only_look_alikes = all(letter in _LOOK_ALIKES for letter in letters) and _LATIN.search(text) is not None
    found: dict[int, str] = {}
    for word in _WORD.finditer(text):
        if only_look_alikes or _LATIN.search(word[0]):
            start = word.start()
            found.update((start + i, _LOOK_ALIKES[c]) for i, c in enumerate(word[0]) if c in _LOOK_ALIKES)
    return found
