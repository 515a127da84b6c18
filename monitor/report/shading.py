"""Shading: a text cut into runs of equal activation strength, and the colours they get."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

LEVELS = 8

# (background, text) of levels 1 to LEVELS. White to orange, as in interpretability papers; every pair has a contrast
# of 4.5 or more (WCAG AA), which a test holds.
LIGHT: tuple[tuple[str, str], ...] = (
    ("#fff4e8", "#1c1a17"),
    ("#ffe8cf", "#1c1a17"),
    ("#ffdab2", "#1c1a17"),
    ("#ffca92", "#1c1a17"),
    ("#ffb970", "#1c1a17"),
    ("#ffa64d", "#1c1a17"),
    ("#fb922b", "#1c1a17"),
    ("#f07c0c", "#1c1a17"),
)
DARK: tuple[tuple[str, str], ...] = (
    ("#2f2418", "#f3eee7"),
    ("#422d17", "#f3eee7"),
    ("#573717", "#f3eee7"),
    ("#6d4116", "#f3eee7"),
    ("#854c13", "#f3eee7"),
    ("#c9731c", "#15110c"),
    ("#e8892a", "#15110c"),
    ("#ffa64d", "#15110c"),
)

_JOINER = "\u200d"
_LONGEST_PART = 10  # characters of a cut-off word that may go
_STRONG = 0.5


@dataclass(frozen=True)
class Run:
    """A piece of the text whose characters share one strength, 0 to 1."""

    text: str
    strength: float

    @property
    def level(self) -> int:
        """0 to LEVELS; 0 is not shaded and takes the faintest few percent."""
        return max(0, math.ceil(self.strength * LEVELS - 0.25))


@dataclass(frozen=True)
class Window:
    """The runs of a part of a text, and whether the text goes on before and after it."""

    runs: tuple[Run, ...]
    cut_before: bool
    cut_after: bool


def shaded(text: str, strengths: Sequence[tuple[int, int, float]]) -> tuple[Run, ...]:
    """The whole of `text` as runs, one for each token or gap between tokens.

    `strengths` are (start, end, strength) in characters; where tokens overlap, as the byte tokens of one emoji do,
    the strongest counts. A boundary never splits a base character from what combines with it. Spans outside the
    text are ignored, because alerts come from a topic that others may write to.
    """
    if not text:
        return ()
    clusters = _cluster_starts(text)
    value = [0.0] * len(text)
    borders = {0, len(text)}
    for start, end, strength in strengths:
        first, last = max(0, start), min(len(text), end)
        if first >= last or not strength > 0:
            continue
        first, last = clusters[first], _next_cluster(clusters, last)
        borders.update((first, last))
        for i in range(first, last):
            value[i] = max(value[i], min(1.0, strength))
    edges = sorted(borders)
    return tuple(Run(text[a:b], value[a]) for a, b in pairwise(edges))


def strongest_window(runs: Sequence[Run], chars: int) -> Window:
    """At most `chars` characters of the runs, where the sum of squared strengths is greatest."""
    total = sum(len(run.text) for run in runs)
    if total <= chars:
        return Window(tuple(runs), False, False)
    start = _best_start(runs, total, chars)
    kept: list[Run] = []
    position = 0
    for run in runs:
        a, b = max(start - position, 0), min(start + chars - position, len(run.text))
        if a < b:
            kept.append(Run(run.text[a:b], run.strength))
        position += len(run.text)
    return Window(tuple(kept), start > 0, start + chars < total)


def whole_words(window: Window) -> Window:
    """The window without the cut-off words at its ends, if they are short and not strong."""
    runs = list(window.runs)
    if window.cut_before:
        runs = _without_part_of_word(runs)
    if window.cut_after:
        turned = [Run(run.text[::-1], run.strength) for run in reversed(runs)]
        runs = [Run(run.text[::-1], run.strength) for run in reversed(_without_part_of_word(turned))]
    return Window(tuple(runs), window.cut_before, window.cut_after)


def _without_part_of_word(runs: Sequence[Run]) -> list[Run]:
    """The runs from the first space on; all of them if that is far away or if it would cost strong tokens."""
    dropped = 0
    for n, run in enumerate(runs):
        space = next((i for i, char in enumerate(run.text) if char.isspace()), None)
        if space is not None and dropped + space <= _LONGEST_PART and (space == 0 or run.strength < _STRONG):
            return [Run(run.text[space:].lstrip(), run.strength), *runs[n + 1 :]]
        dropped += len(run.text)
        if dropped > _LONGEST_PART or run.strength >= _STRONG:
            break
    return list(runs)


def _best_start(runs: Sequence[Run], total: int, chars: int) -> int:
    """Where the window begins; among equal places the first, with the evidence in its middle."""
    sums = [0.0]
    for run in runs:
        for _ in run.text:
            sums.append(sums[-1] + run.strength**2)  # squared: one strong token outweighs many faint ones
    best = max(range(total - chars + 1), key=lambda s: (round(sums[s + chars] - sums[s], 6), -s))
    lit = [i for i in range(best, best + chars) if sums[i + 1] > sums[i]]
    if not lit:
        return 0
    middle = (lit[0] + lit[-1] + 1) // 2
    return max(0, min(total - chars, middle - chars // 2))


def _cluster_starts(text: str) -> list[int]:
    """For each character, where the character that a reader sees begins."""
    starts: list[int] = []
    for i, char in enumerate(text):
        joined = i > 0 and (_extends(char) or text[i - 1] == _JOINER or (_flag(char) and _flag(text[starts[-1] : i])))
        starts.append(starts[-1] if joined else i)
    return starts


def _next_cluster(clusters: Sequence[int], end: int) -> int:
    while end < len(clusters) and clusters[end] != end:
        end += 1
    return end


def _flag(chars: str) -> bool:
    """Whether this is one regional indicator, of which two make a flag."""
    return len(chars) == 1 and "\U0001f1e6" <= chars <= "\U0001f1ff"


def _extends(char: str) -> bool:
    if char < "\u0300":
        return False
    return char == _JOINER or "\U0001f3fb" <= char <= "\U0001f3ff" or unicodedata.category(char) in ("Mn", "Me", "Mc")
