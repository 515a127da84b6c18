"""Sets with windows in the lab: the same scores as in the sidecar, and a penalty that the length of texts asks for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from detectors.matching import Matcher, SegmentActivations
from monitor.lab.data.recipe import Recipes
from monitor.lab.data.rows import LabelledRow
from monitor.lab.fit.logistic import SparseLogistic
from monitor.lab.fit.residual_probe import ResidualProbe
from monitor.lab.fit.window_penalty import joined_texts, over_windows
from monitor.lab.fit.workbench import SetModel, Texts, Workbench
from monitor.lab.reading.segment_table import SegmentTable
from tests.feature_set_factory import make_probe
from tests.lab.tables import recipes_data

DRAW = np.random.default_rng(5)
DIRECTION = np.array([0.75, -1.0])


def recipes(**changes: Any) -> Recipes:
    data = recipes_data(windows=True)
    roles = [{"file": k, "kind": k, "rows": 9, "role": "calibrate"} for k in ("chat", "code")]
    return Recipes.model_validate({**data, "benign": roles, "window_tokens": 4, "prior_tokens": 2, **changes})


def texts_of(segments: list[np.ndarray], made: Recipes, label: int = 0) -> Texts:
    """One response a row, from its tokens [token, 4]: two latents, then the residual stream."""
    pooling = made.pooling(made.sets[0])
    rows = [LabelledRow.model_validate({"id": str(n), "response": "r", "label": label}) for n in range(len(segments))]
    spans = [(n, 0, len(s)) for n, s in enumerate(segments)]
    several = [(n, *w) for n, s in enumerate(segments) for w in pooling.windows(len(s)) if len(s) > 4]

    def table(parts: list[tuple[int, int, int]]) -> SegmentTable:
        means = np.array([segments[n][start:stop].mean(axis=0) for n, start, stop in parts]).reshape(-1, 4)
        return SegmentTable(
            row=np.array([n for n, *_ in parts], np.int64),
            segment=np.array(["response"] * len(parts), np.str_),
            turn=np.zeros(len(parts), np.int64),
            tokens=np.array([stop - start for _, start, stop in parts], np.int32),
            latents=means[:, :2].astype(np.float16),
            residual=means[:, 2:].astype(np.float32),
        )

    return Texts.of(rows, table(spans), made.prior_tokens, table(several))


MODEL = SetModel(
    SparseLogistic(np.array([0, 1]), np.array([0.5, -0.25]), -0.5), ResidualProbe(DIRECTION, 0.125, 0.25), 0.3
)


def test_a_matcher_scores_as_the_model_does() -> None:
    segments = [DRAW.exponential(2.0, (size, 4)) for size in (3, 4, 5, 9, 22)]
    used = make_probe(
        bias=MODEL.bias, pooling={"kind": "mean", "prior_tokens": 2, "window_tokens": 4, "window_penalty": 0.3}
    )
    for tokens, logit in zip(segments, MODEL.logits(texts_of(segments, recipes())), strict=True):
        values = np.column_stack([tokens[:, :2], tokens[:, 2:] @ DIRECTION + 0.125]).astype(np.float32)
        best = Matcher(used).best([SegmentActivations("response", 0, values)])
        assert best is not None
        assert best[1].value == pytest.approx(1 / (1 + np.exp(-logit)), abs=2e-3)  # latents are kept in float16


def bench(made: Recipes, longest: int) -> Workbench:
    """Harmless texts whose tokens are noise."""
    texts = [
        texts_of([DRAW.exponential(2.0, (size, 4)) for size in DRAW.integers(1, longest, 300)], made)
        for _ in made.benign
    ]
    return Workbench(made, {"a": texts[0]}, list(zip(made.benign, texts, strict=True)))


def test_the_penalty_keeps_long_harmless_texts_below_the_threshold() -> None:
    made = recipes(target_fpr=0.05)
    used = bench(made, longest=12)
    found = over_windows(used, made.sets[0], replace(MODEL, window_penalty=None))
    assert found.window_penalty is not None
    assert 0 < found.window_penalty < 1
    assert found.features is MODEL.features
    strict = over_windows(
        used,
        made.sets[0],
        replace(MODEL, features=SparseLogistic(MODEL.features.latents, MODEL.features.weights * 3, 0.0)),
    )
    assert strict.window_penalty is not None
    assert strict.window_penalty > found.window_penalty, "scores that vary more need more of it"


def test_a_set_without_windows_is_not_changed() -> None:
    made = Recipes.model_validate(recipes_data())
    assert over_windows(bench(recipes(), 6), made.sets[0], MODEL) is MODEL
    assert made.pooling(made.sets[0]).window_tokens is None
    with pytest.raises(ValueError, match="window_tokens: needed, because the set x has windows"):
        Recipes.model_validate(recipes_data(windows=True))


def test_joined_texts_are_stretches_that_start_again_at_the_end() -> None:
    found = joined_texts(np.arange(5.0), 7)
    assert found.shape[1] == 7
    assert {int(v) for v in np.unique((found[:, 1:] - found[:, :-1]) % 5)} == {1}
