"""Pools many latents at once over the tokens of a segment, from sparse activations."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from detectors.pooling import Pooling
from monitor.lab.reading.token_shards import TokenShard

PRIOR_TOKENS = 16
STRONGEST = 8
POOLINGS = MappingProxyType(
    {
        "mean": Pooling(kind="mean", prior_tokens=PRIOR_TOKENS),
        "max": Pooling(kind="max"),
        "topk_mean": Pooling(kind="topk_mean", k=STRONGEST),
    }
)
"""The poolings that latents are compared with, by name."""


def pooled(shard: TokenShard, first: int, last: int) -> dict[str, NDArray[np.float32]]:
    """The latents [first, last) of each segment, pooled in each way of POOLINGS: [entry, latent].

    Gives the same as `detectors.pooling`. Activations must not be negative, and no SAE's are.
    """
    width, entries = last - first, shard.tokens.size
    latent, token, value = shard.active(first, last)
    group = shard.entry[token] * width + (latent - first)
    order = np.lexsort((-value, group))
    group, value = group[order], value[order]
    begins = np.flatnonzero(np.diff(group, prepend=-1))
    rank = np.arange(group.size) - np.repeat(begins, np.diff(begins, append=group.size))  # 0 is a group's strongest

    def total(among: int) -> NDArray[np.float64]:
        kept = rank < among
        sums = np.bincount(group[kept], weights=value[kept].astype(np.float64), minlength=entries * width)
        return np.asarray(sums, np.float64).reshape(entries, width)

    tokens = shard.tokens[:, None]
    return {
        "mean": (total(group.size + 1) / (tokens + PRIOR_TOKENS)).astype(np.float32),
        "max": total(1).astype(np.float32),
        "topk_mean": (total(STRONGEST) / np.minimum(tokens, STRONGEST)).astype(np.float32),
    }
