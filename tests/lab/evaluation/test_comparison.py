"""The figures of a detector on a file: which rows are compared."""

from __future__ import annotations

import math

import numpy as np
import pytest

from monitor.lab.data.rows import LabelledRow
from monitor.lab.evaluation.comparison import Figures, JudgedFile, measure

KEYS = [
    "set", "detector", "file", "source", "n_pos", "n_neg", "auroc", "auroc_ci", "recall_at_fpr_0.01",
    "recall_at_fpr_0.001", "pair_win_rate", "fpr_at_shipped_threshold",
]  # fmt: skip


def measured(
    scores: list[float],
    labels: list[int],
    benign: list[float] | None = None,
    threshold: float | None = None,
    paired: bool = False,
) -> Figures:
    rows = [
        LabelledRow(id=str(n), response="r", label=label, pair=str(n // 2) if paired else None, source=f"by:{n}")
        for n, label in enumerate(labels)
    ]
    file = JudgedFile("bias", "f.jsonl", rows, np.full(len(rows), 10))
    return measure(file, "shipped", "", np.array(scores), np.array(benign or []), threshold, seed=0)


def test_a_row_has_exactly_the_promised_keys() -> None:
    row = measured([3, 1, 2, 0], [1, 0, 1, 0], paired=True, threshold=1.0).row()
    assert list(row) == KEYS
    assert (row["auroc"], row["pair_win_rate"], row["fpr_at_shipped_threshold"]) == (1.0, 1.0, 0.5)
    assert (row["n_pos"], row["n_neg"], row["source"]) == (2, 2, "by")
    assert row["recall_at_fpr_0.01"] is None, "two negatives show no rate of 1 %"


def test_without_pairs_and_threshold_there_are_no_such_figures() -> None:
    row = measured([3, 1, 2, 0], [1, 0, 1, 0]).row()
    assert row["pair_win_rate"] is None
    assert row["fpr_at_shipped_threshold"] is None


def test_only_positives_are_compared_with_benign_rows_or_not_at_all() -> None:
    single_label = measured([3, 1], [1, 1])
    assert math.isnan(single_label.auroc)
    assert single_label.row()["auroc_ci"] is None
    against = measured([3, 1], [1, 1], benign=[0, 2], threshold=2)
    assert against.auroc == pytest.approx(0.75)
    assert (against.n_neg, against.fpr_at_shipped_threshold) == (2, 0.5)


def test_only_negatives_tell_their_own_false_positives() -> None:
    figures = measured([3, 1, 0, 0], [0, 0, 0, 0], benign=[0] * 9, threshold=2)
    assert math.isnan(figures.auroc)
    assert (figures.n_pos, figures.n_neg, figures.fpr_at_shipped_threshold) == (0, 4, 0.25)
    assert figures.fpr_ci[0] < 0.25 < figures.fpr_ci[1]


def test_recall_and_false_positives_are_taken_against_benign_rows() -> None:
    benign = list(np.linspace(0, 1, 100))
    figures = measured([5, 4, 0.5, 4.5], [1, 1, 1, 0], benign=benign, threshold=0.995)
    assert figures.recall_at_1pct_fpr == pytest.approx(2 / 3)
    assert math.isnan(figures.recall_at_01pct_fpr)
    assert figures.fpr_at_shipped_threshold == pytest.approx(0.01)
    assert figures.auroc == pytest.approx(1 / 3), "against the file's own negative"


def test_what_a_detector_cannot_see_comes_last_in_the_file_and_does_not_count_as_traffic() -> None:
    figures = measured([math.nan, 2, -5, 1], [1, 1, 0, 0], benign=[math.nan, 3, 0], threshold=2)
    assert figures.auroc == pytest.approx(0.5)
    assert (figures.n_benign, figures.fpr_at_shipped_threshold) == (2, 0.5)
