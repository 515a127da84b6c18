"""The cards of a folder of sets as one Markdown page, which alerts can link to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from monitor.report.visible_text import visible_line
from monitor.sets.feature_cards import FeatureCard
from monitor.sets.labels import Labels

PAGE_FILE = "FEATURES.md"
_STRONG = 0.5
_SPECIAL = re.compile("([" + re.escape("\\`*_{}[]<>#|~$&!") + "])")


def cards_page(cards: Mapping[int, FeatureCard], labels: Labels) -> str:
    """The page. The section of a feature has the anchor feature-INDEX."""
    lines = ["# Features", "", "Written by `latentwatch lab label cards`. Bold: where the feature is strongest.", ""]
    for index in sorted(cards):
        lines += _section(cards[index], labels)
    return "\n".join(lines)


def _section(card: FeatureCard, labels: Labels) -> Iterator[str]:
    name = labels.names.get(card.index)
    title = "unnamed" if name is None else _plain(name.label)
    yield f'<a id="feature-{card.index}"></a>'
    yield ""
    yield f"## {card.index}: {title}"
    yield ""
    if name is not None and name.score is not None:
        low, high = name.score.interval_95
        yield f"- Label score: {name.score.detection:.2f} ({low:.2f} to {high:.2f}, n {name.score.n})"
    if name is not None and name.note:
        yield f"- {_plain(name.note)}"
    for friend in () if name is None else name.false_friends:
        yield f"- Not: {_plain(friend)}"
    for side, rate in card.firing.items():
        yield f"- Active on {rate.texts:.1%} of {rate.n} {side} texts, and on {rate.tokens:.2%} of their tokens"
    if card.logit_lens is not None:
        yield f"- Promotes {', '.join(_plain(token) for token in card.logit_lens.promoted)}"
        yield f"- Demotes {', '.join(_plain(token) for token in card.logit_lens.demoted)}"
    yield ""
    for context in card.contexts:
        highest = max((value for _, value in context.tokens), default=0.0)
        pieces = (_piece(text, value >= _STRONG * highest > 0) for text, value in context.tokens)
        yield f"> {' '.join(''.join(pieces).split())}"
        yield ""


def _piece(text: str, strong: bool) -> str:
    plain = _plain(text)
    inner = plain.strip()
    return plain.replace(inner, f"<b>{inner}</b>", 1) if strong and inner else plain


def _plain(text: str) -> str:
    """The text on one line, with nothing that Markdown or HTML would read."""
    return _SPECIAL.sub(r"\\\1", visible_line(text))
