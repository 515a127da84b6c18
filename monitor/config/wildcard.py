"""Wildcard: a pattern in which `*` stands for any text and everything else for itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Wildcard:
    """Matches in a time that grows with the length of the text alone, whatever the pattern: nothing is tried twice."""

    pattern: str

    def matches(self, text: str) -> bool:
        """Whether the pattern stands for the whole text."""
        first, *rest = self.pattern.split("*")
        if not rest:
            return text == first
        *inner, last = rest
        if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
            return False
        at, end = len(first), len(text) - len(last)
        for part in inner:
            found = text.find(part, at, end)
            if found < 0:
                return False
            at = found + len(part)
        return True

    def covers(self, other: Wildcard) -> bool:
        """Whether it matches all texts that `other` matches, as far as that is plain to see."""
        return self.pattern in ("*", other.pattern) or ("*" not in other.pattern and self.matches(other.pattern))


@dataclass(frozen=True)
class Wildcards:
    """Several patterns, of which one must match."""

    exact: frozenset[str]
    """Patterns without a `*`."""
    open: tuple[Wildcard, ...]
    """The others."""

    @classmethod
    def of(cls, patterns: Iterable[str]) -> Wildcards:
        """The patterns, sorted by kind."""
        texts = list(patterns)
        return cls(frozenset(p for p in texts if "*" not in p), tuple(Wildcard(p) for p in texts if "*" in p))

    def matches(self, text: str) -> bool:
        """Whether one of them stands for the whole text."""
        return text in self.exact or any(pattern.matches(text) for pattern in self.open)

    def covers(self, other: Wildcards) -> bool:
        """Whether they match all texts that `other` matches, as far as that is plain to see."""
        return all(any(mine.matches(text) for mine in self.open) for text in other.exact - self.exact) and all(
            any(mine.covers(theirs) for mine in self.open) for theirs in other.open
        )
