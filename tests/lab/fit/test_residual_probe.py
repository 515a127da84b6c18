"""The residual probe, and sets fitted with one, on data whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.matching import Matcher, SegmentActivations
from monitor.lab.data.recipe import SetRecipe
from monitor.lab.data.rows import LabelledRow
from monitor.lab.fit.logistic import SparseLogistic
from monitor.lab.fit.make_sets import best_kind
from monitor.lab.fit.residual_probe import ResidualProbe, fit_residual_probe
from monitor.lab.fit.workbench import SetModel
from tests.feature_set_factory import make_probe
from tests.lab.tables import texts_of

DRAW = np.random.default_rng(2)
AXIS = np.array([2.0, 0.0, 0.0, -1.0])


def residuals(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Residuals [row, 4] around a mean far from 0, risky along AXIS."""
    y = (np.arange(rows) % 2).astype(np.int64)
    return (50 + DRAW.standard_normal((rows, 4)) + np.outer(y, AXIS)).astype(np.float32), y


def test_it_finds_the_direction_and_does_not_change_short_texts() -> None:
    x, y = residuals(400)
    probe = fit_residual_probe(x, np.ones(400, np.float32), y, np.ones(400), c=1.0)
    cosine = probe.direction @ AXIS / np.linalg.norm(probe.direction) / np.linalg.norm(AXIS)
    assert cosine > 0.9
    evidence = probe.evidence(x, np.ones(400, np.float32))
    assert evidence[y == 1].mean() > evidence[y == 0].mean() + 1
    # the offset puts harmless texts at 0 on average, and what is shrunk lies between that and the full evidence
    assert abs(evidence[y == 0].mean()) < 0.2
    np.testing.assert_allclose(probe.evidence(x, np.full(400, 0.25, np.float32)), evidence / 4, rtol=1e-5)


def test_rows_of_no_weight_do_not_count() -> None:
    x, y = residuals(200)
    wrong = np.concatenate([y, 1 - y])
    weights = np.concatenate([np.ones(200), np.zeros(200)])
    shrink = np.ones(400, np.float32)
    both = fit_residual_probe(np.concatenate([x, x]), shrink, wrong, weights, c=1.0)
    assert both.direction @ AXIS > 0


def test_a_matcher_scores_as_the_model_does() -> None:
    """What is fitted on means is what the sidecar makes of tokens."""
    tokens = DRAW.exponential(2.0, (3, 10, 4)).astype(np.float32)
    tokens[:, :, 2:] -= 1
    latents, residual = tokens[:, :, :2], tokens[:, :, 2:]
    rows = [LabelledRow(id=str(n), prompt="p", response="r", label=0) for n in range(3)]
    texts = texts_of(rows, latents.mean(axis=1), residual.mean(axis=1))
    model = SetModel(
        SparseLogistic(np.array([0, 1]), np.array([0.5, -0.25]), -0.5),
        ResidualProbe(np.array([0.75, -1.0]), 0.125, 0.25),
    )
    used = make_probe(bias=model.bias, pooling={"kind": "mean"})
    for n, logit in enumerate(model.logits(texts)):
        projection = residual[n] @ np.array([0.75, -1.0]) + 0.125
        values = np.column_stack([latents[n], projection]).astype(np.float32)
        best = Matcher(used).best([SegmentActivations("response", 0, values)])
        assert best is not None
        assert best[1].value == pytest.approx(1 / (1 + np.exp(-logit)), abs=2e-3)  # latents are kept in float16


def recipe() -> SetRecipe:
    sources = [{"file": "a.jsonl", "family": "a"}, {"file": "b.jsonl", "family": "b", "train": False}]
    text = dict.fromkeys(("id", "version", "title", "category", "description", "definition"), "x")
    return SetRecipe.model_validate(
        {**text, "severity": "low", "segments": ["response"], "benign": "chat", "sources": sources}
    )


@pytest.mark.parametrize(
    ("weighted", "probe", "best"), [(0.7, 0.72, "probe"), (0.7, 0.702, "weighted"), (0.7, 0.6, "weighted")]
)
def test_a_probe_must_be_worth_it(weighted: float, probe: float, best: str) -> None:
    def figures(value: float, contrary: float) -> dict[str, dict[str, float | None]]:
        return {"a": {"auroc": value, "auroc_vs_benign": None}, "b": {"auroc": contrary, "auroc_vs_benign": contrary}}

    # what the source of another definition says does not count
    assert best_kind({"weighted": figures(weighted, 0.9), "probe": figures(probe, 0.1)}, recipe()) == best
