"""AllowList: which alerts on an event are silenced, because its system prompt is known to be good."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from detectors.feature_set import FeatureSet
from detectors.matching import Match
from monitor.config.allow import Allowed
from monitor.config.rules import ALL_SETS
from monitor.config.wildcard import Wildcard
from monitor.events.event import Event


@dataclass(frozen=True)
class Silenced:
    """An alert that was not made."""

    set_id: str
    allowed: str
    """Name of the entry that silenced it."""


@dataclass(frozen=True)
class _Entry:
    allowed: Allowed
    sha256s: frozenset[str]
    patterns: tuple[Wildcard, ...]

    def knows(self, prompt: str) -> bool:
        if any(pattern.matches(prompt) for pattern in self.patterns):
            return True
        return bool(self.sha256s) and _sha256(prompt) in self.sha256s


class AllowList:
    """The entries of the config. An event has a known prompt if it has one, and if one entry knows all that it has."""

    def __init__(self, entries: Sequence[Allowed] = ()) -> None:
        self._entries = [
            _Entry(entry, frozenset(entry.system_sha256), tuple(map(Wildcard, entry.system_pattern)))
            for entry in entries
        ]

    def entries_for(self, event: Event) -> list[Allowed]:
        """The entries that know the event's system prompts."""
        if not self._entries:
            return []
        prompts = [message.content for message in event.messages if message.role == "system"]
        return [of.allowed for of in self._entries if prompts and all(map(of.knows, prompts))]


def silencing(entries: Sequence[Allowed], set_id: str, match: Match) -> Allowed | None:
    """The first entry that silences this match of a set."""
    return next(
        (
            entry
            for entry in entries
            if (set_id in entry.sets or ALL_SETS in entry.sets)
            and (not entry.segments or match.segment.name in entry.segments)
        ),
        None,
    )


def allow_problems(entries: Sequence[Allowed], sets: Sequence[FeatureSet]) -> Iterator[str]:
    """What in the entries does not fit the sets in use."""
    known = {used.id for used in sets}
    for entry in entries:
        for name in entry.sets:
            if name not in known | {ALL_SETS}:
                there = ", ".join(sorted(known))
                yield f"feature_sets.allow: {entry.name}: sets: no set {name} is in use; there are {there}"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
