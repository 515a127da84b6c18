"""The figures against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from monitor.auroc import auroc
from monitor.lab.statistics import (
    auprc,
    binomial_interval,
    bootstrap_interval,
    length_matched_auroc,
    pair_win_rate,
    recall_at_fpr,
    threshold_at_fpr,
)


def floats(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)


def test_auroc_counts_ties_half() -> None:
    assert auroc(floats(2, 3), floats(0, 1)) == 1
    assert auroc(floats(0), floats(1)) == 0
    assert auroc(floats(1, 2), floats(1, 0)) == pytest.approx(3.5 / 4)
    assert math.isnan(auroc(floats(), floats(1)))


def test_recall_at_fpr_needs_enough_negatives() -> None:
    negative = np.arange(100, dtype=np.float64)
    assert recall_at_fpr(floats(99.5, 98.5, 10), negative, 0.01) == pytest.approx(2 / 3)
    assert recall_at_fpr(floats(98.0), negative, 0.01) == 0
    assert math.isnan(recall_at_fpr(floats(1), negative[:50], 0.01))


def test_the_threshold_lets_the_wanted_share_through() -> None:
    negative = np.arange(200, dtype=np.float64)
    threshold = threshold_at_fpr(negative, 0.01)
    assert (negative >= threshold).sum() == 2
    assert threshold == pytest.approx(197.5)
    assert (negative >= threshold_at_fpr(negative, 0.001)).sum() == 0


def test_tied_scores_all_stay_out() -> None:
    negative = np.concatenate([np.full(50, 1.0), np.full(50, 0.0)])
    threshold = threshold_at_fpr(negative, 0.2)
    assert (negative >= threshold).mean() == 0
    assert threshold_at_fpr(negative, 0.5) == pytest.approx(0.5)
    close = floats(1.0, np.nextafter(1.0, 2))
    assert (close >= threshold_at_fpr(close, 0.5)).sum() == 1, "no number lies between the two"


def test_auprc_is_the_mean_precision_at_each_positive() -> None:
    # ranked +, -, +: precision 1 at the first positive, 2/3 at the second
    assert auprc(floats(3, 1), floats(2)) == pytest.approx((1 + 2 / 3) / 2)
    assert math.isnan(auprc(floats(), floats(1)))


def test_length_by_itself_is_worth_nothing_at_matched_length() -> None:
    tokens = np.concatenate([np.arange(10, 90), np.arange(40, 120)])
    labels = np.repeat([0, 1], 80)
    by_length = tokens.astype(np.float64)
    assert auroc(by_length[labels == 1], by_length[labels == 0]) > 0.75
    assert length_matched_auroc(by_length, labels, tokens) < 0.6
    by_label = labels.astype(np.float64)
    assert length_matched_auroc(by_label, labels, tokens) == 1
    assert math.isnan(length_matched_auroc(by_label, labels, np.where(labels == 1, 1000, 10)))


def test_a_pair_of_more_than_two_counts_once() -> None:
    scores, labels = floats(3, 2, 1, 0, 1), np.array([1, 0, 1, 1, 0])
    assert pair_win_rate(scores, labels, ["a", "a", "a", "b", "b"]) == pytest.approx((0.5 + 0) / 2)


def test_an_interval_of_a_figure_without_value_is_none() -> None:
    low, high = bootstrap_interval(lambda p, n: recall_at_fpr(p, n, 0.01), floats(1, 0), np.array([1, 0]), ["a", "b"])
    assert math.isnan(low)
    assert math.isnan(high)


def test_pair_win_rate_passes_over_rows_without_a_twin() -> None:
    scores, labels = floats(2, 1, 0, 3, 5, 5, 9), np.array([1, 0, 1, 0, 1, 0, 1])
    assert pair_win_rate(scores, labels, ["a", "a", "b", "b", "c", "c", None]) == pytest.approx(0.5)
    assert math.isnan(pair_win_rate(floats(1), np.array([1]), [None]))


def test_the_bootstrap_keeps_clusters_together() -> None:
    rng = np.random.default_rng(3)
    base = rng.normal(size=100)
    scores = np.concatenate([base + 1, base])
    labels = np.repeat([1, 0], 100)
    clusters = [str(i) for i in range(100)] * 2
    low, high = bootstrap_interval(auroc, scores, labels, clusters)
    assert low < auroc(scores[:100], scores[100:]) < high
    independent = bootstrap_interval(auroc, scores, labels, [str(i) for i in range(200)])
    assert high - low < independent[1] - independent[0], "twins move together, so the interval is narrower"


def test_binomial_interval_of_published_values() -> None:
    # Clopper and Pearson: 0 of 10 gives [0, 0.3085], 5 of 10 gives [0.1871, 0.8129]
    assert binomial_interval(0, 10) == (0.0, pytest.approx(0.3085, abs=1e-4))
    assert binomial_interval(5, 10) == (pytest.approx(0.1871, abs=1e-4), pytest.approx(0.8129, abs=1e-4))
    assert binomial_interval(10, 10)[1] == 1.0
