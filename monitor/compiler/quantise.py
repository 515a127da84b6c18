"""Weights in int8: levels and a unit for each output, so that no processor's sums overflow. Needs numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEVELS = 127


def quantise_columns(weight: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric int8 [channel, out] and the unit [out] of each column.

    Channels 0 and 1, 2 and 3 and so on are pairs. If both weights of a pair have the same sign, their levels add up to
    at most 128, because x86 without VNNI (vpmaddubsw) adds the products of a pair with two unsigned activations in 16
    bits: 255 * 128 = 32,640 fits, anything above 32,767 is cut off there. See
    docs/decisions/0009-int8-weights-bounded-in-pairs.md.
    """
    scales = _largest_pairs(weight) / LEVELS  # rounding adds half a level to each weight: 127 + 2 * 0.5 = 128
    scales[scales < np.finfo(np.float32).tiny] = 1.0  # a smaller unit is itself too coarse to divide by
    levels = weight / scales
    np.rint(levels, out=levels)
    np.clip(levels, -LEVELS, LEVELS, out=levels)
    return levels.astype(np.int8), scales.astype(np.float32)


def _largest_pairs(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """The largest sum [out] that the positive weights of a pair have in a column, or the negative ones."""
    even = np.pad(weight, ((0, len(weight) % 2), (0, 0))) if len(weight) % 2 else weight
    first, second = even[::2], even[1::2]
    # of two numbers with different signs, the sum of the positive ones is the larger number itself
    positive = np.maximum(np.maximum(first, second), first + second).max(axis=0)
    negative = np.minimum(np.minimum(first, second), first + second).min(axis=0)
    largest: NDArray[np.float32] = np.maximum(np.maximum(positive, -negative), np.float32(0))
    return largest
