"""The L1 path against sklearn, and which columns enter first."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from monitor.lab.fit.l1_path import l1_weights


def made(entries: int = 400, columns: int = 30) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    z = rng.normal(size=(entries, columns)).astype(np.float32)
    logits = 3 * z[:, 4] - 2 * z[:, 7] + z[:, 11]
    return z, (logits + rng.logistic(size=entries) > 0).astype(np.int64)


def test_the_columns_that_matter_enter_first_with_their_signs() -> None:
    z, y = made()
    weights = l1_weights(z, y, np.ones(y.size), keep=3)
    first = np.argsort(-np.abs(weights))[:3]
    assert sorted(first) == [4, 7, 11]
    assert [weights[n] > 0 for n in (4, 7, 11)] == [True, False, True]


def test_it_agrees_with_sklearn_at_some_penalty() -> None:
    z, y = made()
    weights = l1_weights(z, y, np.ones(y.size), keep=5)
    nearest = min(float(np.abs(fitted(z, y, c) - weights).max()) for c in np.geomspace(0.005, 0.2, 60))
    assert np.count_nonzero(weights) >= 5
    assert nearest < 0.05


def fitted(z: np.ndarray, y: np.ndarray, c: float) -> np.ndarray:
    return LogisticRegression(l1_ratio=1.0, solver="saga", C=c, max_iter=5000, tol=1e-4).fit(z, y).coef_[0]


def test_columns_without_values_give_no_weights() -> None:
    weights = l1_weights(np.zeros((20, 3), np.float32), np.tile([0, 1], 10), np.ones(20), keep=1)
    assert weights.tolist() == pytest.approx([0, 0, 0])
