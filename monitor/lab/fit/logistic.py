"""SparseLogistic: a logistic model over a limited number of latents."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class SparseLogistic:
    """logit(x) = bias + weights . x[latents], for pooled activations x [s]."""

    latents: NDArray[np.int64]
    weights: NDArray[np.float64]
    bias: float

    def logits(self, x: NDArray[np.float16] | Floats) -> NDArray[np.float64]:
        """Logits [entry] of pooled activations [entry, s]."""
        logits: NDArray[np.float64] = x[:, self.latents].astype(np.float64) @ self.weights + self.bias
        return logits


def fit_logistic(x: Floats, y: NDArray[np.int64], sample_weight: NDArray[np.float64], c: float) -> SparseLogistic:
    """A logistic regression on all standardised columns of x [entry, s], with an L2 penalty of strength 1 / `c`.

    Columns are divided by their deviation plus the median deviation, so that one or two rows can't give a large
    weight to a latent that is almost never active.
    """
    mean, scale = _centre_and_scale(x)
    model = LogisticRegression(C=c, max_iter=500)
    model.fit((x - mean) / scale, y, sample_weight=sample_weight)
    weights = (model.coef_[0] / scale).astype(np.float64)
    bias = float(model.intercept_[0] - weights @ mean)
    return SparseLogistic(np.arange(x.shape[1]), weights, bias)


def standardised(x: Floats) -> Floats:
    """The columns of x [entry, s] as `fit_logistic` sees them."""
    mean, scale = _centre_and_scale(x)
    return (x - mean) / scale


def _centre_and_scale(x: Floats) -> tuple[Floats, Floats]:
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    active = deviation > 0
    return mean, deviation + (np.median(deviation[active]) if active.any() else np.float32(1))


def fit_sparse_logistic(
    x: Floats,
    y: NDArray[np.int64],
    sample_weight: NDArray[np.float64],
    c: float,
    keep: int,
) -> SparseLogistic:
    """Fits as `fit_logistic`, and again on the `keep` columns that move the logit most.

    The second fit has half the penalty, so that the logits keep their size.
    """
    fitted = fit_logistic(x, y, sample_weight, c)
    if x.shape[1] <= keep:
        return fitted
    columns = most_influential(fitted, x, keep)
    again = fit_logistic(x[:, columns], y, sample_weight, 2 * c)
    return SparseLogistic(columns, again.weights, again.bias)


def most_influential(fitted: SparseLogistic, x: Floats, keep: int) -> NDArray[np.int64]:
    """The `keep` columns of x [entry, s] that move the logit of a model of all columns most, in ascending order."""
    influence = np.abs(fitted.weights) * x.std(axis=0)
    return np.sort(np.argsort(-influence, kind="stable")[:keep])
