"""AUROC: how well scores tell two sides apart."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def auroc(positive: NDArray[np.float64], negative: NDArray[np.float64]) -> float:
    """Probability that a positive scores above a negative, counting ties half (Mann-Whitney). NaN if one is empty."""
    if positive.size == 0 or negative.size == 0:
        return math.nan
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, "left") + np.searchsorted(ordered, positive, "right")
    return float(below.mean() / (2 * negative.size))
