"""LanguageOf: what tells the language of a text."""

from __future__ import annotations

from typing import Protocol


class LanguageOf(Protocol):
    """Tells languages."""

    def language_of(self, text: str) -> str | None:
        """The language of `text` as a code of ISO 639-1; None if it isn't certain. Never fails."""
