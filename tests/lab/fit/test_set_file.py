"""The files of a fitted set: what is written is what loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitor.errors import ConfigError
from monitor.lab.data.recipe import Recipes, load_recipes
from monitor.lab.fit.logistic import SparseLogistic
from monitor.lab.fit.make_sets import set_weights
from monitor.lab.fit.residual_probe import ResidualProbe
from monitor.lab.fit.set_file import NAMED_FEATURES, set_body, write_labels, write_reader, write_set
from monitor.lab.fit.workbench import SetModel
from monitor.sets.load import builtin_folder, load_feature_set

RECIPES = builtin_folder().parent / "monitor" / "lab" / "data" / "recipes.yaml"
LATENTS = np.arange(40, 60)
LABELS = {int(i): "no clear tokens" if i == 59 else f'tokens "{i}", "é"' for i in LATENTS}
METRICS = {
    "one": {"auroc": 0.6, "auroc_interval_95": [0.5, 0.7], "n_positive": 3, "n_negative": 4, "held_out": True},
    "own_one": {"auroc": None, "n_positive": 3, "n_negative": 0, "held_out": True},
}
CALIBRATION = {
    "benign": "a: b; c", "n": 5, "target_fpr": 0.01, "measured_fpr": 0.0, "measured_n": 5, "interval_95": [0.0, 0.5],
    "date": "2026-11-30",
}  # fmt: skip


@pytest.fixture(scope="module")
def recipes() -> Recipes:
    return load_recipes(RECIPES)


@pytest.fixture
def folder(tmp_path: Path, recipes: Recipes) -> Path:
    write_reader(tmp_path, recipes, "a" * 64, "b" * 64, 64)
    write_labels(tmp_path, LABELS, "some tokens")
    return tmp_path


def fitted(probe: bool) -> SetModel:
    weights = np.linspace(-1.2345678, 1.2345678, LATENTS.size)
    made = ResidualProbe(np.array([0.1, -0.2, 0.3]), 0.4, 0.5) if probe else None
    return SetModel(SparseLogistic(LATENTS, weights, -1.0), made)


def body(recipes: Recipes, detector: str, **changes: Any) -> dict[str, Any]:
    measured = {"detector": detector, "bias": -0.5, "threshold": 0.625, "calibration": CALIBRATION}
    return {**set_body(recipes.sets[0], recipes), **measured, **changes}


@pytest.mark.parametrize("detector", ["weighted", "probe"])
def test_what_is_written_loads(folder: Path, recipes: Recipes, detector: str) -> None:
    model = fitted(detector == "probe")
    entry = write_set(folder, body(recipes, detector), set_weights(model), METRICS, LABELS)
    path = folder / f"{recipes.sets[0].id}.yaml"
    loaded = load_feature_set(path)
    used = loaded.set
    assert entry == {"version": used.version, "sha256": loaded.sha256}
    assert [f.index for f in used.features] == list(LATENTS[::-1]), "the highest weight first"
    assert [f.weight for f in used.features][:2] == [1.2346, 1.1046]
    assert {f.index: f.label for f in used.features} == LABELS
    assert (used.bias, used.threshold, used.detector) == (-0.5, 0.625, detector)
    assert used.metrics["one"].auroc == 0.6
    assert used.summary is not None
    assert (used.summary.auroc_by_others, used.summary.auroc_own) == ((0.6, 0.6), None)
    assert used.reader.sae.sha256 == "b" * 64
    if detector == "probe":
        assert loaded.probe is not None
        np.testing.assert_allclose(loaded.probe.direction, [0.1, -0.2, 0.3], rtol=1e-6)
        assert loaded.probe.offset == pytest.approx(0.4)
    text = path.read_text()
    assert len(text.splitlines()) <= 80
    assert text.count("- {index: ") == NAMED_FEATURES
    assert "no clear tokens" not in text, "a latent without a label is not named"


def test_labels_and_metrics_have_a_line_each(folder: Path, recipes: Recipes) -> None:
    write_set(folder, body(recipes, "weighted"), set_weights(fitted(False)), METRICS, LABELS)
    assert len((folder / "latents.json").read_text().splitlines()) == len(LABELS) + 3
    assert '"40": "tokens \\"40\\", \\"é\\""' in (folder / "latents.json").read_text()
    metrics = folder / f"{recipes.sets[0].id}.metrics.json"
    assert json.loads(metrics.read_text()) == METRICS
    assert '  "auroc_interval_95": [0.5, 0.7],' in metrics.read_text().splitlines()


def test_a_set_that_is_not_valid_is_refused(folder: Path, recipes: Recipes) -> None:
    with pytest.raises(ConfigError, match="a probe detector needs a probe"):
        write_set(folder, body(recipes, "probe"), set_weights(fitted(False)), METRICS, LABELS)
