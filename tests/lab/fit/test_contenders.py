"""Contenders on activations whose answer is planted."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.auroc import auroc
from monitor.lab.data.rows import LabelledRow
from monitor.lab.fit.contenders import SingleFeature, best_single_feature, fitted
from monitor.lab.fit.workbench import Texts, Training
from tests.feature_set_factory import make_set, make_weighted
from tests.lab.tables import texts_of

PLANTED = 7


def planted(seed: int, rows: int = 80) -> tuple[Texts, np.ndarray]:
    """Rows whose label shows in latent 7, in the residual and in one word."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, rows)
    latents = rng.random((rows, 16))
    latents[:, PLANTED] += 2 * y
    made = [
        LabelledRow(id=str(n), response=f"{'bad' if label else 'good'} word{n % 5}", label=int(label))
        for n, label in enumerate(y)
    ]
    return texts_of(made, latents), y


def test_each_contender_finds_what_was_planted() -> None:
    texts, _ = planted(seed=0)
    training = Training([(texts, texts.labelled(label), label, 1.0) for label in (1, 0)])
    contenders = fitted(make_weighted(), training)
    assert [c.name for c in contenders] == ["single_feature", "weighted", "dense_probe", "word_only"]
    fresh, y = planted(seed=1)
    for contender in contenders:
        scores = contender.scores(fresh)
        assert auroc(scores[y == 1], scores[y == 0]) > 0.95, contender.name


def test_the_single_feature_is_the_one_with_the_best_auroc() -> None:
    texts, y = planted(seed=0)
    chosen = best_single_feature(make_set(), texts.x.astype(np.float32), y)
    assert isinstance(chosen, SingleFeature)
    assert chosen.latent == PLANTED
    assert "eval of input" in chosen.detail, "the set's own label"
    assert chosen.scores(texts) == pytest.approx(texts.x[:, PLANTED])


def test_a_feature_that_is_low_on_risky_rows_is_not_chosen() -> None:
    y = np.array([1, 1, 0, 0])
    x = np.array([[0, 1], [0, 3], [5, 2], [6, 2]], dtype=np.float32)
    assert best_single_feature(make_set(), x, y).latent == 1
