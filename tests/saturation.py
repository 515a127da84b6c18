"""Saturation: what x86 without VNNI does to an int8 product, in numpy, and the activations that make it worst."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Levels = NDArray[np.uint8]
Weight = NDArray[np.int8]


def exact(levels: Levels, weight: Weight) -> NDArray[np.int64]:
    """levels [token, channel] @ weight [channel, out]."""
    return levels.astype(np.int64) @ weight.astype(np.int64)


def saturating(levels: Levels, weight: Weight) -> NDArray[np.int64]:
    """The same as vpmaddubsw and vpmaddwd do it: two neighbouring channels are added in 16 bits, which saturate.

    Intel 64 and IA-32 Architectures Software Developer's Manual, PMADDUBSW.
    """
    odd = len(weight) % 2
    a = np.pad(levels, ((0, 0), (0, odd))).astype(np.int64)
    b = np.pad(weight, ((0, odd), (0, 0))).astype(np.int64)
    pairs = a[:, 0::2, None] * b[None, 0::2] + a[:, 1::2, None] * b[None, 1::2]  # [token, pair, out]
    limits = np.iinfo(np.int16)
    result: NDArray[np.int64] = np.clip(pairs, limits.min, limits.max).sum(axis=1)
    return result


def worst_levels(weight: Weight) -> Levels:
    """Activations [token, channel] that push each column as far as it goes: 255 wherever its weight has one sign.

    The last rows are all 255, and 255 in every other channel.
    """
    up, down = (np.where(sign * weight.T.astype(np.int16) > 0, 255, 0) for sign in (1, -1))
    every = np.full((1, len(weight)), 255)
    alternating = every * (np.arange(len(weight)) % 2)
    return np.concatenate([up, down, every, alternating]).astype(np.uint8)


def without_pairs(weight: NDArray[np.float32]) -> Weight:
    """Levels [channel, out] that use the whole range of int8, whatever the sum of a pair."""
    largest = np.abs(weight).max(axis=0)
    return np.rint(weight / np.where(largest > 0, largest, 1) * 127).astype(np.int8)
