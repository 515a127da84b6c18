"""Operations: counts the floating-point operations of reading from the model's shape, and the least time they take.

A multiplication or an addition is one operation, so a product of [m, k] with [k, n] takes 2 m k n. With d the width of
the residual stream, each token that is read takes:

    weights     in every block 2 d (heads + 2 kv_heads) head_dim (queries, keys, values) + 2 heads head_dim d (output)
                + 6 d inner (gate, up, down); after all blocks 2 d vocabulary if the head runs
    attention   in every block 4 heads head_dim for each token that it attends to, itself included
    SAE         2 d latents

Norms, activation functions, rotations, the embedding look-up and padding are not counted: they are why a reader takes
longer than its floor. The floor of an event is (weights + SAE) / rate + attention / rate. The rates come from
ceilings.py; which precision counts depends on the reader:

    naive_fp32, torch, onnx_fp32   fp32 for both (torch: reader.dtype)
    naive_bf16                     bf16 for both
    onnx_int8                      int8, attention fp32
    llama_cpp                      int8, attention fp32

Each reader is charged only for the work that it does: the naive readers for all blocks, the head and the whole SAE,
latentwatch's readers for the blocks up to the hook point. So the fraction says how well a reader uses the machine, not
how much work it skips.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.compiler.architectures import Architecture
from monitor.readers.onnx.prefix_cache import BLOCK_TOKENS, block_keys


@dataclass(frozen=True)
class Span:
    """Tokens [first, end) of one event that are read; they attend to all tokens before them, too."""

    first: int
    end: int


@dataclass(frozen=True)
class Operations:
    """The floating-point operations of one reader per token."""

    weights: float
    attention: float
    """Per pair of a token and a token that it attends to, in all blocks without a window."""
    windowed: tuple[tuple[int, float], ...]
    """(window, operations per pair) of the blocks that attend to only the last `window` tokens."""
    sae: float

    def floor_s(self, spans: Iterable[Span], weight_rate: float, attention_rate: float) -> float:
        """The least time in seconds for the spans at these rates, in operations per second."""
        tokens, attention = 0, 0.0
        for span in spans:
            contexts = np.arange(span.first, span.end, dtype=np.int64) + 1
            tokens += contexts.size
            attention += self.attention * float(contexts.sum())
            for window, each in self.windowed:
                attention += each * float(np.minimum(contexts, window).sum())
        return tokens * (self.weights + self.sae) / weight_rate + attention / attention_rate


def count_operations(a: Architecture, inner: int, blocks: int, latents: int, vocabulary: int = 0) -> Operations:
    """The operations of the first `blocks` blocks and of `latents` of an SAE; `inner` is the MLP's width.

    `vocabulary` is 0 if the language-model head doesn't run.
    """
    projections = 2 * a.d_model * (a.heads + 2 * a.kv_heads) * a.head_dim + 2 * a.heads * a.head_dim * a.d_model
    pair = 4.0 * a.heads * a.head_dim
    used = a.windows[:blocks]
    return Operations(
        weights=float(blocks * (projections + 6 * a.d_model * inner) + 2 * a.d_model * vocabulary),
        attention=pair * used.count(None),
        windowed=tuple((w, pair * used.count(w)) for w in sorted({w for w in used if w is not None})),
        sae=2.0 * a.d_model * latents,
    )


def spans(
    events: Iterable[NDArray[np.int32]], prefixes: Iterable[NDArray[np.int32]] = (), cached: bool = False
) -> list[Span]:
    """The tokens that a reader has to read of `events` [token] in this order.

    It skips the longest of the shared `prefixes` that fits. With a prefix cache, which is assumed to be large enough,
    it also skips the full blocks of tokens that an earlier event had in the same place.
    """
    longest_first = sorted(prefixes, key=lambda s: -s.size)
    seen: set[bytes] = set()
    found = []
    for ids in events:
        first = next((s.size for s in longest_first if np.array_equal(ids[: s.size], s)), 0)
        if cached:
            keys = block_keys(str(first).encode(), ids[first:])
            known = next((n for n, key in enumerate(keys) if key not in seen), len(keys))
            seen.update(keys)
            first += known * BLOCK_TOKENS
        found.append(Span(first, int(ids.size)))
    return found
