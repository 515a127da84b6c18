"""Figures: how well scores separate risky from benign, with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, rankdata

Floats = NDArray[np.float64]


def auroc(positive: Floats, negative: Floats) -> float:
    """Probability that a positive scores above a negative, ties counted half (Mann-Whitney). NaN without either."""
    n, m = positive.size, negative.size
    if n == 0 or m == 0:
        return math.nan
    ranks = rankdata(np.concatenate([positive, negative]))
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def recall_at_fpr(positive: Floats, negative: Floats, fpr: float) -> float:
    """Share of positives above the lowest threshold that lets at most `fpr` of the negatives through.

    NaN where there are too few negatives for such a rate to be seen (fewer than 1 / fpr).
    """
    if positive.size == 0 or negative.size * fpr < 1:
        return math.nan
    allowed = math.floor(negative.size * fpr)
    threshold = np.sort(negative)[::-1][allowed]  # the first negative that must stay out
    return float((positive > threshold).mean())


def threshold_at_fpr(negative: Floats, fpr: float) -> float:
    """The lowest score such that at most `fpr` of `negative` reach it, half way to the next score below."""
    allowed = math.floor(negative.size * fpr)
    descending = np.sort(negative)[::-1]
    above = descending[allowed - 1] if allowed > 0 else descending[0] + 1.0
    return float((above + descending[allowed]) / 2)


def pair_win_rate(scores: Floats, labels: NDArray[np.int64], pairs: Sequence[str | None]) -> float:
    """Share of pairs whose positive scores above its negative, ties counted half. NaN without pairs."""
    by_pair: dict[str, dict[int, float]] = {}
    for score, label, pair in zip(scores, labels, pairs, strict=True):
        if pair is not None:
            by_pair.setdefault(pair, {})[int(label)] = float(score)
    wins = [np.sign(p[1] - p[0]) / 2 + 0.5 for p in by_pair.values() if len(p) == 2]
    return float(np.mean(wins)) if wins else math.nan


def bootstrap_interval(
    figure: Callable[[Floats, Floats], float],
    scores: Floats,
    labels: NDArray[np.int64],
    clusters: Sequence[str],
    draws: int = 400,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % percentile interval of `figure(positives, negatives)`, resampling whole clusters with replacement."""
    rng = np.random.default_rng(seed)
    _, member = np.unique(np.array(clusters, dtype=str), return_inverse=True)
    order = np.argsort(member, kind="stable")
    bounds = np.searchsorted(member[order], np.arange(member.max() + 2))
    groups = [order[bounds[i] : bounds[i + 1]] for i in range(bounds.size - 1)]
    values = []
    for _ in range(draws):
        rows = np.concatenate([groups[i] for i in rng.integers(len(groups), size=len(groups))])
        drawn, of = scores[rows], labels[rows]
        values.append(figure(drawn[of == 1], drawn[of == 0]))
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)


def binomial_interval(successes: int, trials: int) -> tuple[float, float]:
    """Exact 95 % interval of a rate (Clopper and Pearson 1934)."""
    low = 0.0 if successes == 0 else float(beta.ppf(0.025, successes, trials - successes + 1))
    high = 1.0 if successes == trials else float(beta.ppf(0.975, successes + 1, trials - successes))
    return low, high
