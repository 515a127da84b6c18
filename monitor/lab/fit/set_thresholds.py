"""Thresholds of fitted sets, from harmless texts that took no part in fitting."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.lab.data.recipe import SetRecipe
from monitor.lab.fit.workbench import Scored, SetModel, Texts, Workbench
from monitor.lab.statistics import binomial_interval, threshold_at_fpr


@dataclass(frozen=True)
class Thresholds:
    """The logits from which a set is active, and from which its severity is higher."""

    watch: float
    page: float


def thresholds_of(bench: Workbench, recipe: SetRecipe, model: SetModel) -> Thresholds:
    """The logits that at most `target_fpr` and `page_fpr` of each kind of harmless texts reach."""
    scores = _calibration_scores(bench, recipe, model)
    rates = bench.recipes.target_fpr, bench.recipes.page_fpr
    watch, page = (max(threshold_at_fpr(s, rate) for s in scores) for rate in rates)
    return Thresholds(watch, page)


def calibrated(bench: Workbench, recipe: SetRecipe, model: SetModel) -> dict[str, Any]:
    """The threshold, the escalation if the recipe has one, and the calibration record."""
    recipes = bench.recipes
    thresholds = thresholds_of(bench, recipe, model)
    judged = np.concatenate([bench.score(recipe, t, model).scores for t in bench.judge_all()])
    hits = int((judged >= thresholds.watch).sum())
    low, high = binomial_interval(hits, judged.size)
    record: dict[str, Any] = {
        "benign": "the strictest of: instructions of two collections; package code, shell and C, none of it used "
        "in fitting; and the harmless contrasts of other categories, which were; measured on instructions of a "
        "third collection and standard-library code",
        "n": sum(s.size for s in _calibration_scores(bench, recipe, model)),
        "target_fpr": recipes.target_fpr,
        "measured_fpr": round(hits / judged.size, 4),
        "measured_n": int(judged.size),
        "interval_95": [round(low, 4), round(high, 4)],
        "date": datetime.now(UTC).date(),
        "unit": "logistic",
        "activation_basis": "raw",
    }
    found = {"threshold": _logistic(thresholds.watch), "calibration": record}
    if recipe.page_severity is not None:
        found["escalations"] = [{"score": _logistic(thresholds.page), "severity": recipe.page_severity}]
        record["escalation_fpr"] = round(float((judged >= thresholds.page).mean()), 4)
    return found


def calibration_kinds(bench: Workbench, recipe: SetRecipe) -> list[list[Texts]]:
    """The texts whose harmless rows set the threshold, by kind."""
    # traffic differs from site to site: a threshold holds for chat, for code and for casual talk, each by itself.
    # Published instructions are tidy; the project's own harmless rows of other categories are written as people talk.
    return [bench.calibration_texts("chat"), bench.calibration_texts("code"), bench.other_own(recipe)]


def _calibration_scores(bench: Workbench, recipe: SetRecipe, model: SetModel) -> list[NDArray[np.float64]]:
    """Scores of harmless texts of each kind."""
    return [
        np.concatenate([harmless_scores(bench.score(recipe, t, model)) for t in texts])
        for texts in calibration_kinds(bench, recipe)
    ]


def harmless_scores(scored: Scored) -> NDArray[np.float64]:
    """The scores of the rows with label 0."""
    harmless: NDArray[np.float64] = scored.scores[scored.labels == 0]
    return harmless


def _logistic(logit: float) -> float:
    return round(1 / (1 + math.exp(-logit)), 5)
