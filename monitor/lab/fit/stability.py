"""Stability selection: the few latents that fits on different sources and rows agree on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monitor.lab.fit.logistic import Floats, fit_logistic, most_influential

DRAWS = 16
_CANDIDATES = 16
"""For each latent that is kept."""
_SOURCES_LEFT_OUT = 1 / 3
_ROWS_LEFT_OUT = 0.3


def stable_columns(
    x: Floats,
    y: NDArray[np.int64],
    sample_weight: NDArray[np.float64],
    source: NDArray[np.int64],
    c: float,
    keep: int,
    draws: int = DRAWS,
    seed: int = 0,
) -> NDArray[np.int64]:
    """The `keep` columns of x [entry, s] that hold up best when sources and rows are left out, in ascending order.

    Stability selection (Meinshausen and Bühlmann 2010), which here leaves out whole sources as well. Each draw leaves
    out a third of the sources with risky entries and 30 % of all entries, fits, and votes for the `keep` columns that
    move its logit most, with the signs of their weights. Votes with different signs cancel, so a column whose meaning
    depends on the source gains nothing. Influence on all entries breaks ties. `source` [entry] numbers the sources.
    """
    candidates = most_influential(fit_logistic(x, y, sample_weight, c), x, _CANDIDATES * keep)
    chosen = x[:, candidates]
    rng = np.random.default_rng(seed)
    risky = np.unique(source[y == 1])
    votes = np.zeros(candidates.size)
    for _ in range(draws):
        left_out = rng.permutation(risky)[: round(risky.size * _SOURCES_LEFT_OUT)]
        drawn = ~np.isin(source, left_out) & (rng.random(y.size) >= _ROWS_LEFT_OUT)
        if np.unique(y[drawn]).size == 2:
            fitted = fit_logistic(chosen[drawn], y[drawn], sample_weight[drawn], c)
            kept = most_influential(fitted, chosen[drawn], keep)
            votes[kept] += np.sign(fitted.weights[kept])
    on_all = fit_logistic(chosen, y, sample_weight, c)
    influence = np.abs(on_all.weights) * chosen.std(axis=0)
    best = np.lexsort((-influence, -np.abs(votes)))[:keep]
    return np.sort(candidates[best])
