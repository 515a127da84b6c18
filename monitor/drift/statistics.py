"""Statistics: tests and intervals for the difference of two rates and of two distributions."""

from __future__ import annotations

import math
from collections.abc import Sequence

FEWEST_EXPECTED = 5
"""Cases and non-cases that each side must be expected to have for the test of two rates."""
FEWEST_VALUES = 50
"""Values that each side must have for the test of two distributions."""
_Z95 = 1.959963984540054


def rates_p(hits: tuple[int, int], of: tuple[int, int]) -> float | None:
    """Two-sided p-value of the pooled two-proportion z-test; None if there are too few cases for it."""
    if not all(of):
        return None
    pooled = sum(hits) / sum(of)
    if min(of) * min(pooled, 1 - pooled) < FEWEST_EXPECTED:
        return None
    error = math.sqrt(pooled * (1 - pooled) * (1 / of[0] + 1 / of[1]))
    return math.erfc(abs(hits[1] / of[1] - hits[0] / of[0]) / error / math.sqrt(2))


def rate_ratio(hits: tuple[int, int], of: tuple[int, int]) -> tuple[float, float, float] | None:
    """The second rate over the first, with a 95 % interval (Katz et al. 1978); None if a rate is unknown or zero."""
    if not all(of) or not all(hits):
        return None
    ratio = (hits[1] / of[1]) / (hits[0] / of[0])
    spread = _Z95 * math.sqrt(max(0.0, 1 / hits[0] - 1 / of[0] + 1 / hits[1] - 1 / of[1]))
    return ratio, ratio * math.exp(-spread), ratio * math.exp(spread)


def distance_p(distance: float, counts: tuple[int, int]) -> float | None:
    """P-value of the two-sample Kolmogorov-Smirnov test for large samples; None if there are too few values.

    Values in one bin count as ties, which makes the test less likely to see a difference, not more.
    """
    if min(counts) < FEWEST_VALUES:
        return None
    effective = math.sqrt(counts[0] * counts[1] / (counts[0] + counts[1]))
    x = (effective + 0.12 + 0.11 / effective) * distance  # Stephens 1970
    if x < 0.3:  # the series converges slowly there, and p is 1 to five digits
        return 1.0
    total = sum((1 if k % 2 else -1) * math.exp(-2 * k * k * x * x) for k in range(1, 101))
    return min(1.0, max(0.0, 2 * total))


def false_discovery(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values, in order: those at most q have false discoveries of q at most (Benjamini, Hochberg 1995)."""
    order = sorted(range(len(p_values)), key=lambda n: p_values[n], reverse=True)
    adjusted, lowest = [1.0] * len(p_values), 1.0
    for passed, n in enumerate(order):
        lowest = min(lowest, p_values[n] * len(p_values) / (len(p_values) - passed))
        adjusted[n] = lowest
    return adjusted
