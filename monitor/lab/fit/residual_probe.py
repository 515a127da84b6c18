"""ResidualProbe: a logistic model on the mean residual stream, as probe sets use it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.lab.fit.logistic import fit_logistic

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class ResidualProbe:
    """logit = bias + shrink * (direction . mean residual + offset).

    `shrink` is n / (n + prior tokens), because a set's means include prior tokens without evidence.
    """

    direction: NDArray[np.float64]  # [d]
    offset: float
    bias: float

    def evidence(self, residual: Floats, shrink: Floats) -> NDArray[np.float64]:
        """The logits [entry] without the bias, from mean residuals [entry, d] and shrink [entry]."""
        found: NDArray[np.float64] = shrink * (residual.astype(np.float64) @ self.direction + self.offset)
        return found


def fit_residual_probe(
    residual: Floats, shrink: Floats, y: NDArray[np.int64], sample_weight: NDArray[np.float64], c: float
) -> ResidualProbe:
    """Fits on shrunk differences from the harmless rows' mean, so that a short text gives little evidence."""
    centre = np.average(residual[y == 0], axis=0, weights=sample_weight[y == 0])
    fitted = fit_logistic(((residual - centre) * shrink[:, None]).astype(np.float32), y, sample_weight, c)
    return ResidualProbe(fitted.weights, float(-centre @ fitted.weights), fitted.bias)
