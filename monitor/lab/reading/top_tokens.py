"""TopTokens: the tokens on which each latent is most active, as a label for it."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from monitor.lab.data.rows import LabelledRow
from monitor.readers.windows import WindowReader
from monitor.sae.encoder import CuratedEncoder
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
    """Collects the strongest activations of each latent of an encoder, with the text of their tokens."""

    def __init__(self, reader: WindowReader, d_model: int, encoder: CuratedEncoder, tokeniser: EventTokeniser) -> None:
        """`reader` returns the residual stream [token, d_model]."""
        self._reader = reader
        self._d_model = d_model
        self._encoder = encoder
        self._tokeniser = tokeniser
        self._heaps: list[list[tuple[float, int, str]]] = [[] for _ in range(encoder.features)]
        self._texts = 0

    def look_at(self, rows: Sequence[LabelledRow]) -> None:
        """Reads `rows` and keeps the strongest tokens."""
        for start in range(0, len(rows), _GROUP):
            items = self._tokeniser.tokenise([r.event(n) for n, r in enumerate(rows[start : start + _GROUP])])
            read = self._reader.read([item.ids for item in items], self._d_model)
            for item, (residual, _) in zip(items, read, strict=True):
                for segment, tokens in zip(item.segments, item.rows, strict=True):
                    values = self._latents(residual[tokens])
                    for token, column in zip(*values.nonzero(), strict=True):
                        first, last = segment.own_span(int(item.starts[tokens[token]]), int(item.ends[tokens[token]]))
                        self._add(int(column), float(values[token, column]), segment.text[first:last])
            self._texts += len(items)

    def label(self, column: int) -> str:
        """The label of a column; see token_label."""
        return token_label((activation, text) for activation, _, text in self._heaps[column])

    def evidence(self) -> str:
        """How the labels were found, in words."""
        return f"the {KEPT} strongest tokens in {self._texts} texts"

    def _latents(self, residual: NDArray[np.float32]) -> NDArray[np.float32]:
        """The latents [token, column] of `residual` [token, d_model]; none for tokens whose values are not known."""
        known = np.flatnonzero(np.isfinite(residual).all(axis=1))
        found = np.zeros((residual.shape[0], self._encoder.features), np.float32)
        found[known] = self._encoder(torch.from_numpy(residual[known]).to(self._encoder.device)).cpu().numpy()
        return found

    def _add(self, column: int, activation: float, text: str) -> None:
        heap = self._heaps[column]
        entry = (activation, -len(heap), text)
        if len(heap) < KEPT:
            heapq.heappush(heap, entry)
        elif activation > heap[0][0]:
            heapq.heapreplace(heap, entry)
