"""LanguageIdentifier: the natural language of a text, if it can be told with confidence."""

from __future__ import annotations

import re
from functools import lru_cache

from py3langid.langid import MODEL_FILE
from py3langid.langid import LanguageIdentifier as Classifier

MAX_CHARS = 1_000
"""Characters at the start of a text that are looked at."""
MIN_LETTERS = 20
"""A text with fewer letters is in no known language."""
MIN_CONFIDENCE = 0.5
"""The lowest confidence with which a language counts as known."""
_KNOWN_TEXTS = 1_024
"""Texts whose language is kept: a conversation's earlier turns come again with every event."""

_NOT_PROSE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+|\S+@\S+|<[^<>\n]{1,200}>", re.DOTALL)
_NOT_A_WORD = re.compile(r"[\d_(){}\[\]=<>/\\|$#;@*+]")


class LanguageIdentifier:
    """Tells languages by the sequences of bytes in a text (py3langid, after Lui & Baldwin 2012).

    Code, links and words with digits or signs in them are left out, because they look like any language.
    """

    def __init__(self) -> None:
        self._classifier = Classifier.from_model_file(MODEL_FILE, norm_probs=True)
        self._found = lru_cache(maxsize=_KNOWN_TEXTS)(self._identified)

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages that it tells apart, those with a code of ISO 639-1."""
        return tuple(sorted(label for label in self._classifier.labels if len(label) == 2))

    def language_of(self, text: str) -> str | None:
        """As LanguageOf says."""
        return self._found(text[:MAX_CHARS])

    def _identified(self, text: str) -> str | None:
        prose = " ".join(word for word in _NOT_PROSE.sub(" ", text).split() if not _NOT_A_WORD.search(word))
        if sum(char.isalpha() for char in prose) < MIN_LETTERS:
            return None
        language, confidence = self._classifier.classify(prose)
        # most of what is taken for a language without such a code, such as Nigerian Pidgin, is terse English or code
        return language if confidence >= MIN_CONFIDENCE and len(language) == 2 else None
