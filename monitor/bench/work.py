"""Work: floating-point operations of reading, counted from the model's shape, and the time they take at least.

An operation is a multiplication or an addition, so that a product of [m, k] with [k, n] has 2 m k n. Counted for each
token that is read, d being the width of the residual stream:

    weights     in every block 2 d (heads + 2 kv_heads) head_dim (queries, keys, values) + 2 heads head_dim d (output)
                + 6 d inner (gate, up, down); behind all blocks 2 d vocabulary where the head runs
    attention   in every block 4 heads head_dim for each token that it looks at, itself included (scores, weighted sum)
    SAE         2 d latents

Norms, activation functions, rotations and the embedding's look-up are not counted, nor is padding: they are what a
reader is above its floor for. The floor of an event is (weights + SAE) / rate + attention / rate, with the rates that
ceilings.py measured, of the precision in which the reader multiplies with weights and of the one of its attention:

    naive_fp32, torch, onnx_fp32   fp32 for both (torch: reader.dtype)
    naive_bf16                     bf16 for both
    onnx_int8                      int8, attention fp32
    llama_cpp                      int8, attention fp32

What stands in `Work` is what this reader does: all blocks, the head and the whole SAE in the plain way, the blocks up
to the hook in ours. So a fraction tells how well a reader uses the machine, and not how much it leaves out.
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
    """Tokens [first, end) of one event are read, with all before them in sight."""

    first: int
    end: int


@dataclass(frozen=True)
class Work:
    """What one reader does for a token, in floating-point operations."""

    weights: float
    attention: float
    """For each pair of a token and one that it looks at, all blocks without a window."""
    windowed: tuple[tuple[int, float], ...]
    """The same of the blocks that look back so many tokens."""
    sae: float

    def floor_s(self, spans: Iterable[Span], weight_rate: float, attention_rate: float) -> float:
        """The least seconds that the spans take at these rates, in operations a second."""
        tokens, attention = 0, 0.0
        for span in spans:
            contexts = np.arange(span.first, span.end, dtype=np.int64) + 1
            tokens += contexts.size
            attention += self.attention * float(contexts.sum())
            for window, each in self.windowed:
                attention += each * float(np.minimum(contexts, window).sum())
        return tokens * (self.weights + self.sae) / weight_rate + attention / attention_rate


def count_work(a: Architecture, inner: int, blocks: int, latents: int, vocabulary: int = 0) -> Work:
    """The work of the first `blocks` blocks and `latents` of an SAE; `inner` is the MLP's width.

    `vocabulary` is 0 where the language-model head does not run.
    """
    projections = 2 * a.d_model * (a.heads + 2 * a.kv_heads) * a.head_dim + 2 * a.heads * a.head_dim * a.d_model
    pair = 4.0 * a.heads * a.head_dim
    used = a.windows[:blocks]
    return Work(
        weights=float(blocks * (projections + 6 * a.d_model * inner) + 2 * a.d_model * vocabulary),
        attention=pair * used.count(None),
        windowed=tuple((w, pair * used.count(w)) for w in sorted({w for w in used if w is not None})),
        sae=2.0 * a.d_model * latents,
    )


def spans(
    events: Iterable[NDArray[np.int32]], prefixes: Iterable[NDArray[np.int32]] = (), cached: bool = False
) -> list[Span]:
    """What a reader reads of `events` [token] that come in this order.

    It skips the longest of the shared `prefixes` that fits. A prefix cache also skips the full blocks of tokens that an
    earlier event had at the same place; we assume that all blocks fit into it.
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
