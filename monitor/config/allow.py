"""Allowed: system prompts that are known to be good, and whose alerts are silenced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from detectors.feature_set import SegmentName
from detectors.frozen_model import Sha256
from monitor.config.rules import Name, one_or_more
from monitor.config.section import Section

MIN_OWN_CHARS = 16
"""A shorter pattern would silence prompts that nobody has looked at."""


def _specific(pattern: str) -> str:
    own = len(pattern.replace("*", ""))
    if own < MIN_OWN_CHARS:
        raise ValueError(
            f"has {own} characters other than *, and needs {MIN_OWN_CHARS}, so that it is about a known prompt"
        )
    return pattern


Pattern = Annotated[str, Field(max_length=10_000), AfterValidator(_specific)]


class Allowed(Section):
    """Silences alerts on conversations whose system prompt is known to be good."""

    name: Name
    """What metrics, traces and messages call it."""
    system_sha256: Annotated[tuple[Sha256, ...], Field(max_length=1_000), one_or_more(Sha256)] = ()
    """SHA-256 of the system prompt's text in UTF-8."""
    system_pattern: Annotated[tuple[Pattern, ...], Field(max_length=100), one_or_more(Pattern)] = ()
    """The whole system prompt, with `*` for any text."""
    sets: Annotated[tuple[str, ...], Field(min_length=1, max_length=1_000), one_or_more(str)]
    """Ids of the sets whose alerts are silenced; `*` for all."""
    segments: Annotated[tuple[SegmentName, ...], one_or_more(SegmentName)] = ()
    """Silences only alerts whose highest score is in these parts of the event; empty means all."""

    @model_validator(mode="after")
    def _knows_a_prompt(self) -> Allowed:
        if not self.system_sha256 and not self.system_pattern:
            raise ValueError("needs system_sha256 or system_pattern")
        return self


def check_allowed(entries: Sequence[Allowed]) -> Sequence[Allowed]:
    """The entries. Raises ValueError if two have one name."""
    names = [entry.name for entry in entries]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice}: two entries have this name; metrics name the entry, so give each its own")
    return entries
