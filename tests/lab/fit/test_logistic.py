"""The sparse logistic model on data whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.lab.fit.logistic import fit_logistic, fit_sparse_logistic


def data(rows: int = 400, columns: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    x = np.abs(rng.normal(size=(rows, columns))).astype(np.float32)
    y = (x[:, 7] + x[:, 11] - x[:, 20] > 0.8).astype(np.int64)
    return x, y


def test_the_columns_that_matter_are_kept() -> None:
    x, y = data()
    model = fit_sparse_logistic(x, y, np.ones(y.size), c=0.1, keep=3)
    assert sorted(model.latents) == [7, 11, 20]
    weights = dict(zip(model.latents.tolist(), model.weights.tolist(), strict=True))
    assert weights[7] > 0
    assert weights[11] > 0
    assert weights[20] < 0
    assert ((model.logits(x) > 0) == (y == 1)).mean() > 0.9


def test_logits_are_those_of_raw_columns() -> None:
    x, y = data()
    model = fit_logistic(x, y, np.ones(y.size), c=0.1)
    expected = x.astype(np.float64) @ model.weights + model.bias
    assert model.logits(x) == pytest.approx(expected)


def test_weights_of_rows_count() -> None:
    x, y = data()
    favour_positives = np.where(y == 1, 10.0, 1.0)
    even = fit_logistic(x, y, np.ones(y.size), c=0.1)
    leaning = fit_logistic(x, y, favour_positives, c=0.1)
    assert leaning.logits(x).mean() > even.logits(x).mean() + 0.5


def test_a_column_that_never_moves_is_harmless() -> None:
    x, y = data()
    x[:, 3] = 0
    model = fit_logistic(x, y, np.ones(y.size), c=0.1)
    assert np.isfinite(model.weights).all()
    assert model.weights[3] == 0
