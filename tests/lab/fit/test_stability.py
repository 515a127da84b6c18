"""Stability selection on data whose answer is known."""

from __future__ import annotations

import numpy as np

from monitor.lab.fit.logistic import fit_logistic
from monitor.lab.fit.stability import stable_order

SOURCES, ROWS, COLUMNS = 3, 120, 40


def sources() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns 0, 1 and 3 mean the same in all sources; column 2 means more, but the opposite in two of them."""
    rng = np.random.default_rng(3)
    source = np.repeat(np.arange(SOURCES), ROWS)
    y = np.tile([0, 1], SOURCES * ROWS // 2)
    x = np.abs(rng.normal(size=(y.size, COLUMNS))).astype(np.float32)
    x[:, [0, 1, 3]] += 0.2 * y[:, None]
    x[:, 2] += np.select([source == 0, source == 1], [4.0 * y, 3.8 * (1 - y)])
    return x, y, source


def order_of(x: np.ndarray, y: np.ndarray, source: np.ndarray, **options: int) -> np.ndarray:
    weight = np.ones(y.size)
    return stable_order(fit_logistic(x, y, weight, 0.01), x, y, weight, source, c=0.01, **options)


def test_a_column_whose_sign_depends_on_the_source_comes_late() -> None:
    x, y, source = sources()
    order = order_of(x, y, source, votes=3)
    assert sorted(order[:3]) == [0, 1, 3]
    assert sorted(order) == list(range(COLUMNS))


def test_the_same_seed_finds_the_same_order() -> None:
    x, y, source = sources()
    found = [order_of(x, y, source, seed=seed) for seed in (1, 1)]
    assert found[0].tolist() == found[1].tolist()
