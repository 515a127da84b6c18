"""Statistics: how well scores separate risky from benign, with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, rankdata
from sklearn.metrics import average_precision_score

Floats = NDArray[np.float64]

_FEWEST_MATCHED = 20


def column_aurocs(scores: NDArray[Any], labels: NDArray[np.int64]) -> Floats:
    """The AUROC [column] of each column of `scores` [row, column]; NaN if one label is missing."""
    positives = int((labels == 1).sum())
    negatives = labels.size - positives
    if not positives or not negatives:
        return np.full(scores.shape[1], math.nan)
    ranks = rankdata(scores, axis=0)[labels == 1].sum(axis=0)
    aurocs: Floats = (ranks - positives * (positives + 1) / 2) / (positives * negatives)
    return aurocs


def recall_at_fpr(positive: Floats, negative: Floats, fpr: float) -> float:
    """Share of positives above the lowest threshold that lets at most `fpr` of the negatives through.

    NaN if there are too few negatives to measure such a rate (fewer than 1 / fpr).
    """
    if positive.size == 0 or negative.size * fpr < 1:
        return math.nan
    allowed = math.floor(negative.size * fpr)
    threshold = np.sort(negative)[::-1][allowed]  # the highest negative that must not pass
    return float((positive > threshold).mean())


def threshold_at_fpr(negative: Floats, fpr: float) -> float:
    """A threshold that at most `fpr` of `negative` reach: halfway between the highest score below it and the next one.

    Tied scores all stay below it.
    """
    allowed = math.floor(negative.size * fpr)
    out = np.sort(negative)[::-1][allowed]  # the highest negative that must stay below
    above = negative[negative > out].min(initial=math.inf)
    if math.isinf(above):
        above = out + 1.0
    middle = float((out + above) / 2)
    return middle if middle > out else float(above)


def auprc(positive: Floats, negative: Floats) -> float:
    """Average precision, the area under the precision-recall curve. A random score gives the share of positives.

    NaN if one label is missing.
    """
    if positive.size == 0 or negative.size == 0:
        return math.nan
    labels = np.repeat([1, 0], [positive.size, negative.size])
    return float(average_precision_score(labels, np.concatenate([positive, negative])))


def length_matched_auroc(
    scores: Floats, labels: NDArray[np.int64], tokens: NDArray[np.int64], ratio: float = 1.25
) -> float:
    """AUROC over only those pairs of a positive and a negative whose lengths differ by at most the factor `ratio`.

    A detector that only measures length falls to .5. `tokens` [row] are lengths. NaN if fewer than 20 positives have
    such a negative.
    """
    return float(length_matched_aurocs(scores[:, None], labels, tokens, ratio)[0])


def length_matched_aurocs(
    scores: NDArray[Any], labels: NDArray[np.int64], tokens: NDArray[np.int64], ratio: float = 1.25
) -> Floats:
    """The length-matched AUROC [column] of each column of `scores` [row, column]; see length_matched_auroc."""
    size = np.log(np.maximum(tokens, 1))
    positive, negative = labels == 1, labels == 0
    won, compared, matched = np.zeros(scores.shape[1]), 0, 0
    for score, length in zip(scores[positive], size[positive], strict=True):
        others = scores[negative][np.abs(size[negative] - length) <= math.log(ratio) + 1e-9]  # [other, column]
        won += (others < score).sum(axis=0) + (others == score).sum(axis=0) / 2
        compared += others.shape[0]
        matched += others.shape[0] > 0
    return won / compared if matched >= _FEWEST_MATCHED else np.full(scores.shape[1], math.nan)


def pair_wins(scores: Floats, labels: NDArray[np.int64], pairs: Sequence[str | None]) -> Floats:
    """For each pair [pair] whether its positive scores above its negative: 1, 0, or .5 for a tie.

    A pair of more than two rows counts the mean over its positives and negatives; a row without a twin is ignored.
    """
    by_pair: dict[str, tuple[list[float], list[float]]] = {}
    for score, label, pair in zip(scores, labels, pairs, strict=True):
        if pair is not None:
            by_pair.setdefault(pair, ([], []))[int(label)].append(float(score))
    wins = [np.sign(np.subtract.outer(p, n)).mean() / 2 + 0.5 for n, p in by_pair.values() if n and p]
    return np.array(wins, dtype=np.float64)


def pair_win_rate(scores: Floats, labels: NDArray[np.int64], pairs: Sequence[str | None]) -> float:
    """Share of pairs whose positive scores above its negative; ties count half. NaN if there are no pairs."""
    wins = pair_wins(scores, labels, pairs)
    return float(wins.mean()) if wins.size else math.nan


def bootstrap_interval(
    figure: Callable[[Floats, Floats], float],
    scores: Floats,
    labels: NDArray[np.int64],
    clusters: Sequence[str],
    draws: int = 400,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % percentile interval of `figure(positives, negatives)`, resampling whole clusters with replacement.

    NaN if the figure is NaN in most of the draws.
    """
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
    if np.isnan(values).mean() > 0.5:
        return math.nan, math.nan
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)


def binomial_interval(successes: int, trials: int) -> tuple[float, float]:
    """Exact 95 % interval of a rate (Clopper and Pearson 1934)."""
    low = 0.0 if successes == 0 else float(beta.ppf(0.025, successes, trials - successes + 1))
    high = 1.0 if successes == trials else float(beta.ppf(0.975, successes + 1, trials - successes))
    return low, high
