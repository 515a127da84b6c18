"""Thresholds of fitted sets, on made-up harmless texts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from monitor.lab.data.recipe import Recipes
from monitor.lab.data.rows import LabelledRow
from monitor.lab.fit.logistic import SparseLogistic
from monitor.lab.fit.set_thresholds import calibrated, thresholds_of
from monitor.lab.fit.workbench import SetModel, Texts, Workbench
from tests.lab.tables import recipes_data, texts_of

MODEL = SetModel(SparseLogistic(np.array([0]), np.array([1.0]), 0.0))
"""The logit of a text is its latent."""


def bench(**changes: Any) -> Workbench:
    """A set, a second one with own rows, and harmless chat and code to calibrate on, most of which score 0 to 99."""
    data = recipes_data(**changes)
    other = {**data["sets"][0], "id": "other", "sources": [{"file": "own", "family": "own"}]}
    data["sets"].append(other)
    data["benign"] = [
        {"file": f"{role}-{kind}", "kind": kind, "rows": 9, "role": role}
        for role in ("calibrate", "judge")
        for kind in ("chat", "code")
    ]
    recipes = Recipes.model_validate({**data, "target_fpr": 0.1, "page_fpr": 0.01})
    even = np.arange(100.0)
    texts = [scoring(even), scoring(even + 5), scoring(even), scoring(even)]
    own = scoring(np.concatenate([even - 50, np.full(100, 200.0)]), [0] * 100 + [1] * 100)
    return Workbench(recipes, {"own": own}, list(zip(recipes.benign, texts, strict=True)))


def scoring(scores: np.ndarray, labels: list[int] | None = None) -> Texts:
    rows = [
        LabelledRow.model_validate({"id": str(n), "response": "r", "label": label})
        for n, label in enumerate(labels or [0] * scores.size)
    ]
    return texts_of(rows, scores[:, None])


def test_the_strictest_kind_of_harmless_text_sets_both_thresholds() -> None:
    used = bench()
    found = thresholds_of(used, used.recipes.sets[0], MODEL)
    assert found.watch == 94.5, "ten of a hundred texts of code score more"
    assert found.page == 103.5, "one of them does; risky rows of other sets don't count"


def test_the_second_threshold_raises_the_severity_if_the_recipe_says_so() -> None:
    used = bench(page_severity="high")
    made = calibrated(used, used.recipes.sets[0], MODEL)
    assert made["threshold"] == pytest.approx(1 / (1 + math.exp(-94.5)))
    assert [e["severity"] for e in made["escalations"]] == ["high"]
    record = made["calibration"]
    assert (record["target_fpr"], record["measured_fpr"], record["escalation_fpr"]) == (0.1, 0.05, 0.0)
    plain = bench()
    made = calibrated(plain, plain.recipes.sets[0], MODEL)
    assert "escalations" not in made
    assert "escalation_fpr" not in made["calibration"]
