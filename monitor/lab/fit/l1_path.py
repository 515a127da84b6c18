"""L1 path: logistic regressions with a falling L1 penalty, until enough columns take part."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_FALL = 0.75
"""Of the penalty, from one step of the path to the next."""
_STEPS = 18
_ITERATIONS = 40
_POWER_ITERATIONS = 12
_STEP_MARGIN = 1.05
"""The power iteration approaches the largest singular value from below."""


def l1_weights(z: Floats, y: NDArray[np.int64], sample_weight: NDArray[np.float64], keep: int) -> Floats:
    """The weights [s] of the first model on the path with at least `keep` that are not 0.

    `z` [entry, s] are standardised columns. Each model starts from the one before and takes a fixed number of steps of
    FISTA (Beck and Teboulle 2009), so it is not fitted to the end; the order in which columns enter is what counts.
    """
    sign = np.where(y == 1, 1, -1).astype(np.float32)
    share = (sample_weight / sample_weight.sum()).astype(np.float32)
    step = 1 / _curvature(z, share)
    weights, bias = np.zeros(z.shape[1], np.float32), np.float32(0)

    def slope(at: Floats, offset: np.float32) -> Floats:
        """The derivative of the loss by each logit [entry]."""
        margin = np.clip(sign * (z @ at + offset), -60, 60)
        found: Floats = -share * sign / (1 + np.exp(margin))
        return found

    penalty = float(np.abs(z.T @ slope(weights, bias)).max())
    for _ in range(_STEPS):
        penalty *= _FALL
        at, offset, momentum = weights, bias, 1.0
        for _ in range(_ITERATIONS):
            found = slope(at, offset)
            moved = at - step * (z.T @ found)
            new = np.sign(moved) * np.maximum(np.abs(moved) - penalty * step, 0)
            new_bias = offset - step * found.sum()
            following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
            ahead = (momentum - 1) / following
            at, offset = new + ahead * (new - weights), new_bias + ahead * (new_bias - bias)
            weights, bias, momentum = new, new_bias, following
        if np.count_nonzero(weights) >= keep:
            break
    return weights


def _curvature(z: Floats, share: Floats) -> np.float32:
    """An upper bound of the second derivative of the logistic loss in any direction."""
    direction = np.random.default_rng(0).standard_normal((z.shape[1],), dtype=np.float32)
    length = np.float32(1)
    for _ in range(_POWER_ITERATIONS):
        image: Floats = z.T @ (share * (z @ direction))
        length = np.float32(np.linalg.norm(image))
        if length == 0:
            return np.float32(1)
        direction = image / length
    return np.float32(0.25 * _STEP_MARGIN) * length
