"""Abstention: a feature set that does not score a segment, because of its language."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Abstention:
    """A segment in a language that is outside the set's."""

    set_id: str
    language: str
    """A code of ISO 639-1."""
