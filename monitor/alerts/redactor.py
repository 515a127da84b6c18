"""Redactor: text of an event without secrets and personal data, of the same length."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from monitor.alerts.secrets import FINDERS, Finder, Span
from monitor.config.redact import RedactConfig, linear_regex
from monitor.tokens.normalise import normalised

_FILL = "*"
_SURROGATE = re.compile("[\ud800-\udfff]")
_KEPT_TEXTS = 4
"""Several sets often alert on one text."""


class Redactor:
    """Writes over everything of some kinds: `[email************]` in place of an address.

    What stands there has as many characters as what was there, so that token offsets and shading stay right. Kinds are
    looked for in the text as a person reads it, so that a zero-width character or a look-alike does not hide a key.
    """

    def __init__(self, kinds: Sequence[tuple[str, Finder]] = ()) -> None:
        """`kinds` are names with what finds them; if two overlap, that of the first stands."""
        self._kinds = tuple(kinds)
        self._redacted = lru_cache(maxsize=_KEPT_TEXTS)(self._written_over)

    @classmethod
    def of(cls, config: RedactConfig) -> Redactor:
        """The kinds of the config. Raises ConfigError if Presidio is wanted and not installed."""
        kinds: list[tuple[str, Finder]] = [(name, FINDERS[name]) for name in config.patterns]
        kinds += [(pattern.name, _own(linear_regex(pattern.regex))) for pattern in config.own]
        if config.presidio:
            from monitor.alerts.presidio import presidio_finder

            kinds.append(("personal", presidio_finder()))
        return cls(kinds)

    def redacted(self, text: str) -> str:
        """`text` with everything of these kinds written over; its length stays."""
        return self._redacted(text) if self._kinds else text

    def _written_over(self, text: str) -> str:
        seen = normalised(text)
        searched = _SURROGATE.sub("\ufffd", text if seen is None else seen.text)
        parts, done = [], 0
        for first, last, name in _apart(sorted((span, name) for name, find in self._kinds for span in find(searched))):
            start, end = (first, last) if seen is None else seen.original_span(first, last)
            parts += [text[done:start], _marker(name, end - start)]
            done = end
        return "".join([*parts, text[done:]])


def _apart(found: Sequence[tuple[Span, str]]) -> list[tuple[int, int, str]]:
    """What was found, in order; those that overlap as one."""
    merged: list[tuple[int, int, str]] = []
    for (start, end), name in found:
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]), merged[-1][2])
        else:
            merged.append((start, end, name))
    return merged


def _own(pattern: Any) -> Finder:
    def find(text: str) -> Iterator[Span]:
        return (found.span() for found in pattern.finditer(text) if found.end() > found.start())

    return find


def _marker(name: str, length: int) -> str:
    inside = length - len(name) - 2
    return _FILL * length if inside < 0 else f"[{name}{_FILL * inside}]"
