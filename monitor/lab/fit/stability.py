"""Stability selection: the few latents that fits on different sources and rows agree on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monitor.lab.fit.l1_path import l1_weights
from monitor.lab.fit.logistic import Floats, SparseLogistic, fit_logistic, most_influential, standardised

DRAWS = 24
VOTES = 64
"""Latents that each draw votes for."""
_CANDIDATES = 2_048
_SOURCES_KEPT = 0.6
_ROWS_KEPT = 0.7


def stable_order(
    fitted: SparseLogistic,
    x: Floats,
    y: NDArray[np.int64],
    sample_weight: NDArray[np.float64],
    source: NDArray[np.int64],
    c: float,
    draws: int = DRAWS,
    votes: int = VOTES,
    seed: int = 0,
) -> NDArray[np.int64]:
    """Columns of x [entry, s], those first that hold up best when sources and rows are left out.

    Stability selection (Meinshausen and Bühlmann 2010), which here leaves out whole sources as well. Each draw keeps
    60 % of the sources with risky entries and 70 % of the entries that are left, and votes for the columns that are
    first on the L1 path, with the signs of their weights. Votes for the rarer sign count against a column, so one
    whose meaning depends on the source gains nothing. Influence on all entries breaks ties. `fitted` is the model of
    all columns and entries, with the penalty 1 / `c`; `source` [entry] numbers the sources.
    """
    candidates = most_influential(fitted, x, _CANDIDATES)
    chosen = x[:, candidates]
    z = standardised(chosen)
    rng = np.random.default_rng(seed)
    risky = np.unique(source[y == 1])
    given = np.zeros((2, candidates.size))  # for a negative and for a positive weight
    for _ in range(draws):
        left_out = rng.permutation(risky)[max(1, int(np.ceil(risky.size * _SOURCES_KEPT))) :]
        drawn = ~np.isin(source, left_out) & (rng.random(y.size) < _ROWS_KEPT)
        if np.unique(y[drawn]).size < 2:
            continue
        weight = sample_weight[drawn].copy()
        for label in (0, 1):
            weight[y[drawn] == label] /= weight[y[drawn] == label].sum()
        found = l1_weights(z[drawn], y[drawn], weight, votes)
        first = np.argsort(-np.abs(found), kind="stable")[:votes]
        first = first[found[first] != 0]
        given[(found[first] > 0).astype(np.int64), first] += 1
    on_all = fit_logistic(chosen, y, sample_weight, 2 * c)
    influence = np.abs(on_all.weights) * chosen.std(axis=0)
    agreed = given.max(axis=0) - 3 * given.min(axis=0)
    order: NDArray[np.int64] = candidates[np.lexsort((-influence, -agreed))]
    return order
