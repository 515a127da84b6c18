"""Microsoft Presidio as one more finder of personal data: its recognisers by pattern, without a language model."""

from __future__ import annotations

from collections.abc import Iterator

from monitor.alerts.secrets import Finder, Span
from monitor.errors import ConfigError

_LANGUAGE = "en"
_MIN_SCORE = 0.4
"""Weaker findings are mostly plain numbers that need words around them to mean something."""
# every date and every address of a page would go; and the one for e-mail fetches a list of domains from the network
_LEFT_OUT = frozenset({"DATE_TIME", "URL", "EMAIL_ADDRESS"})
_PIECE_CHARS, _OVERLAP_CHARS = 10_000, 200
"""Presidio's own patterns can go back and forth; this bounds how long."""


def presidio_finder() -> Finder:
    """What Presidio recognises. Raises ConfigError if it is not installed."""
    try:
        from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
        from presidio_analyzer.nlp_engine import NoOpNlpEngine
    except ImportError:
        raise ConfigError("alerts.redact.presidio needs Presidio; run: pip install 'latentwatch[presidio]'") from None
    nlp = NoOpNlpEngine([{"lang_code": _LANGUAGE, "model_name": "none"}])
    registry = RecognizerRegistry(supported_languages=[_LANGUAGE])
    registry.load_predefined_recognizers(languages=[_LANGUAGE], nlp_engine=nlp)
    engine = AnalyzerEngine(registry=registry, nlp_engine=nlp, supported_languages=[_LANGUAGE])
    entities = sorted(set(engine.get_supported_entities(_LANGUAGE)) - _LEFT_OUT)

    def find(text: str) -> Iterator[Span]:
        for at in range(0, max(1, len(text)), _PIECE_CHARS):
            start = max(0, at - _OVERLAP_CHARS)
            piece = text[start : at + _PIECE_CHARS]
            for found in engine.analyze(piece, _LANGUAGE, entities, score_threshold=_MIN_SCORE):
                yield start + found.start, start + found.end

    return find
