"""TopTokens: the tokens on which each latent is most active, as a label for it."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

from monitor.lab.data.rows import LabelledRow
from monitor.readers.reader import Reader
from monitor.readers.windows import WindowPlanner
from monitor.tokens.tokeniser import EventTokeniser

KEPT = 24
"""How many of a latent's strongest tokens its label is made from."""
_SHOWN = 4
_GROUP = 64


def token_label(strongest: Iterable[tuple[float, str]]) -> str:
    """A label such as: tokens "eval", "exec". Takes (activation, text); words with the most activation come first."""
    found: dict[str, float] = {}
    for activation, text in strongest:
        word = text.strip().lower()
        if word:
            found[word] = found.get(word, 0.0) + activation
    words = sorted(found, key=lambda w: -found[w])[:_SHOWN]
    if not words:
        return "no clear tokens"
    return "tokens " + ", ".join(f'"{word}"' for word in words)


class TopTokens:
    """Collects the strongest activations of each column of a reader, with the text of their tokens."""

    def __init__(self, reader: Reader, tokeniser: EventTokeniser, planner: WindowPlanner, columns: int) -> None:
        self._reader = reader
        self._tokeniser = tokeniser
        self._planner = planner
        self._heaps: list[list[tuple[float, int, str]]] = [[] for _ in range(columns)]
        self._texts = 0

    def look_at(self, rows: Sequence[LabelledRow]) -> None:
        """Reads `rows` and keeps the strongest tokens."""
        for start in range(0, len(rows), _GROUP):
            items = self._tokeniser.tokenise([r.event(n) for n, r in enumerate(rows[start : start + _GROUP])])
            windows = [(item, w) for item in items for w in self._planner.plan(item.ids)]
            for (item, window), values in zip(windows, self._reader.read([w.chunk for _, w in windows]), strict=True):
                fresh = values[-window.new :]
                for segment, tokens in zip(item.segments, item.rows, strict=True):
                    for token in tokens:
                        here = int(token) - window.start
                        if 0 <= here < window.new:
                            first, last = segment.own_span(int(item.starts[token]), int(item.ends[token]))
                            text = segment.text[first:last]
                            for column in fresh[here].nonzero()[0]:
                                self._add(int(column), float(fresh[here, column]), text)
            self._texts += len(items)

    def label(self, column: int) -> str:
        """The label of a column; see token_label."""
        return token_label((activation, text) for activation, _, text in self._heaps[column])

    def evidence(self) -> str:
        """How the labels were found, in words."""
        return f"the {KEPT} strongest tokens in {self._texts} texts"

    def _add(self, column: int, activation: float, text: str) -> None:
        heap = self._heaps[column]
        entry = (activation, -len(heap), text)
        if len(heap) < KEPT:
            heapq.heappush(heap, entry)
        elif activation > heap[0][0]:
            heapq.heapreplace(heap, entry)
