"""PackedRow: the tokens of several texts in one row, so that a batch needs no padding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PackedRow:
    """`context` tokens from one or more pieces of text; a piece begins wherever `positions` is 0.

    `ids`, `positions` and `documents` [token] are the tokens, their positions in the piece and their documents.
    `kept` [token] marks the tokens that count: no special tokens, no template text, not the first of a piece.
    """

    ids: NDArray[np.int32]
    positions: NDArray[np.int32]
    documents: NDArray[np.int32]
    kept: NDArray[np.bool_]


class Packer:
    """Lays texts end to end into rows of `context` tokens.

    The part of a text that doesn't fit continues in the next row, as a piece of its own that can't see the part before
    it. It begins with the text's shared prefix (such as a BOS token), like the runtime's windows.
    """

    def __init__(self, context: int) -> None:
        self._context = context
        self._parts: list[tuple[NDArray[np.int32], NDArray[np.bool_], int]] = []
        self._filled = 0

    def add(
        self, ids: NDArray[np.int32], kept: NDArray[np.bool_], prefix: NDArray[np.int32], document: int
    ) -> Iterator[PackedRow]:
        """Adds a text of `ids` [token], yields full rows. The shared `prefix` [token] goes before its later pieces."""
        done = 0
        while done < ids.size:
            lead = prefix if done else prefix[:0]
            room = self._context - self._filled - lead.size
            if room <= 1:  # only for the first token of a piece, which never counts
                yield self._row()
                continue
            take = slice(done, done + room)
            piece = np.concatenate([lead, ids[take]])
            counts = np.concatenate([np.zeros(lead.size, np.bool_), kept[take]])
            counts[0] = False
            self._parts.append((piece, counts, document))
            self._filled += piece.size
            done += room
            if self._filled == self._context:
                yield self._row()

    def rest(self) -> Iterator[PackedRow]:
        """The last row, padded with tokens that don't count. Nothing if all rows were full."""
        if self._filled:
            yield self._row()

    def _row(self) -> PackedRow:
        missing = self._context - self._filled
        if missing:
            self._parts.append((np.zeros(missing, np.int32), np.zeros(missing, np.bool_), -1))
        row = PackedRow(
            np.concatenate([ids for ids, _, _ in self._parts]),
            np.concatenate([np.arange(ids.size, dtype=np.int32) for ids, _, _ in self._parts]),
            np.concatenate([np.full(ids.size, document, np.int32) for ids, _, document in self._parts]),
            np.concatenate([kept for _, kept, _ in self._parts]),
        )
        self._parts, self._filled = [], 0
        return row
