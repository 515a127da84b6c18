"""Step: the next tokens of several sequences as the inputs of one run of a compiled graph, packed without padding.

All products of tokens with weights take [token, channel], with the tokens of all sequences one after another. Only
attention needs a rectangle: index arrays gather it, so that padding costs nothing except in attention itself. Keys and
values of the past are read from the pool by row, without a copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EMBEDDINGS = "embeddings"  # [token, d_model]
POSITIONS = "positions"  # [1, token]
QUERY_ROWS = "query_rows"  # [sequence, kv head, queries a kv head * chunk]: row of (token, head) in queries and keys
PAST_ROWS = "past_rows"  # [sequence, kv head, past]: row of (token, kv head) in past keys and values
NEW_ROWS = "new_rows"  # [sequence, kv head, chunk]: row of (token, kv head) in new keys and values
OUTPUT_ROWS = "output_rows"  # [token, head]: row of attention's result
SCORES_SHAPE = "scores_shape"  # [5]
CONTEXT_SHAPE = "context_shape"  # [4]
MASK = "mask"  # [sequence, 1, 1, chunk, context]: 0 if a token may look there, else very negative

_HIDDEN = np.float32(-1e30)


def window_mask(window: int) -> str:
    """The mask of layers whose tokens look at `window` tokens, including themselves."""
    return f"{MASK}.{window}"


def past(kind: str, layer: int) -> str:
    """The input that holds past keys or values of one layer, [row of (token, kv head), head_dim]."""
    return f"past_{kind}.{layer}"


def new(kind: str, layer: int) -> str:
    """The output that holds new keys or values of one layer, [token, kv heads * head_dim]."""
    return f"new_{kind}.{layer}"


@dataclass(frozen=True)
class Heads:
    """What attention's index arrays need to know about a model."""

    query: int
    kv: int
    windows: tuple[int, ...] = ()
    """The different windows of its layers, in tokens; empty if all layers look at everything."""


@dataclass(frozen=True)
class Step:
    """`tokens[i]` new tokens of sequence i, after the tokens at rows `pasts[i]` of the pool."""

    tokens: Sequence[int]
    pasts: Sequence[NDArray[np.int64]]

    def inputs(self, heads: Heads) -> dict[str, NDArray[np.int64] | NDArray[np.float32]]:
        """All inputs except the embeddings and the past itself."""
        count = np.array(self.tokens)
        past_lengths = np.array([rows.size for rows in self.pasts])
        sequences, chunk, longest = count.size, int(count.max()), int(past_lengths.max())
        context = longest + chunk
        group = heads.query // heads.kv
        first = np.cumsum(count) - count
        at = np.arange(chunk)
        # padding repeats the sequence's last token; its result is not used
        token = np.minimum(at, count[:, None] - 1) + first[:, None]  # [sequence, chunk]
        past_rows = np.zeros((sequences, longest), dtype=np.int64)
        for i, rows in enumerate(self.pasts):
            past_rows[i, : rows.size] = rows
        kv = np.arange(heads.kv)
        head = kv[:, None] * group + np.arange(group)  # [kv head, query of it]
        query_rows = token[:, None, None, :] * (heads.query + heads.kv) + head[None, :, :, None]
        sequence = np.repeat(np.arange(sequences), count)
        within = np.arange(int(count.sum())) - np.repeat(first, count)
        output_rows = (sequence[:, None] * heads.query + np.arange(heads.query)) * chunk + within[:, None]
        inputs: dict[str, NDArray[np.int64] | NDArray[np.float32]] = {
            POSITIONS: (within + np.repeat(past_lengths, count))[None],
            QUERY_ROWS: query_rows.reshape(sequences, heads.kv, group * chunk),
            PAST_ROWS: past_rows[:, None, :] * heads.kv + kv[None, :, None],
            NEW_ROWS: token[:, None, :] * heads.kv + kv[None, :, None],
            OUTPUT_ROWS: output_rows,
            SCORES_SHAPE: np.array([sequences, heads.kv, group, chunk, context]),
            CONTEXT_SHAPE: np.array([sequences, heads.kv, group * chunk, context]),
            MASK: _mask(past_lengths, chunk, longest, None),
        }
        for window in heads.windows:
            inputs[window_mask(window)] = _mask(past_lengths, chunk, longest, window)
        return inputs


def _mask(past_lengths: NDArray[np.int64], chunk: int, longest: int, window: int | None) -> NDArray[np.float32]:
    """[sequence, 1, 1, chunk, longest + chunk] for sequences with `past_lengths` [sequence] tokens in the past."""
    at, before = np.arange(chunk), np.arange(longest)
    new = at[:, None] - at[None, :]  # how far back one new token is from another
    seen_new = (new >= 0) & (new < (window or chunk))
    seen_past = (before < past_lengths[:, None])[:, None, :]  # [sequence, 1, past]
    if window is not None:
        seen_past = seen_past & (past_lengths[:, None, None] + at[None, :, None] - before < window)
    mask = np.empty((past_lengths.size, 1, 1, chunk, longest + chunk), np.float32)
    # numpy repeats the row for all tokens of the chunk if they see the same past
    mask[:, 0, 0, :, :longest] = np.where(seen_past, np.float32(0), _HIDDEN)
    mask[:, 0, 0, :, longest:] = np.where(seen_new, np.float32(0), _HIDDEN)
    return mask
