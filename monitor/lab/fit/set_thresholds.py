"""Thresholds of fitted sets, from harmless texts that took no part in fitting."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.lab.data.recipe import Recipes, SetRecipe
from monitor.lab.fit.workbench import Scored, SetModel, Texts, Workbench, row_scores
from monitor.lab.statistics import binomial_interval, threshold_at_fpr


@dataclass(frozen=True)
class Thresholds:
    """The logits from which a set is active, and from which its severity is higher."""

    watch: float
    page: float


def thresholds_of(bench: Workbench, recipe: SetRecipe, model: SetModel) -> Thresholds:
    """The logits that at most `target_fpr` and `page_fpr` of every calibration source reach.

    The project's own harmless rows are harder than traffic, so `own_fpr_factor` times as many of them may.
    """
    traffic, own = calibration_scores(bench, recipe, model.logits)
    recipes = bench.recipes
    watch, page = (threshold_for(recipes, traffic, own, rate) for rate in (recipes.target_fpr, recipes.page_fpr))
    return Thresholds(watch, page)


def calibrated(bench: Workbench, recipe: SetRecipe, model: SetModel) -> dict[str, Any]:
    """The threshold, the escalation if the recipe has one, and the calibration record."""
    recipes = bench.recipes
    thresholds = thresholds_of(bench, recipe, model)
    traffic, own = calibration_scores(bench, recipe, model.logits)
    judged = np.concatenate([bench.score(recipe, t, model).scores for t in bench.judge_all()])
    hits = int((judged >= thresholds.watch).sum())
    low, high = binomial_interval(hits, judged.size)
    record: dict[str, Any] = {
        "benign": "the strictest of: instructions of two collections, package code, shell and C, each by itself and "
        f"none of it used in fitting; and, at {recipes.own_fpr_factor:g} times the target, the harmless contrasts of "
        "other categories, which were; measured on instructions of a third collection and standard-library code",
        "n": sum(scores.size for scores in traffic) + own.size,
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


Logits = Callable[[Texts], NDArray[np.float64]]
"""The logits [entry] of texts."""


def calibration_scores(
    bench: Workbench, recipe: SetRecipe, logits: Logits
) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
    """Scores of the harmless texts of each calibration source, and of the project's own harmless rows."""

    # traffic differs from site to site: a threshold holds for every author's texts, not for the average of them.
    # Published instructions are tidy; the project's own harmless rows of other categories are written as people talk.
    def scores(texts: Texts) -> NDArray[np.float64]:
        return _harmless_scores(row_scores(recipe, texts, logits(texts)))

    own = [scores(texts) for texts in bench.other_own(recipe)]
    return [scores(texts) for texts in bench.calibration_texts()], np.concatenate([np.zeros(0), *own])


def threshold_for(
    recipes: Recipes, traffic: Sequence[NDArray[np.float64]], own: NDArray[np.float64], rate: float
) -> float:
    """The logit that at most `rate` of the scores of every source reach, and `own_fpr_factor` as many of `own`."""
    found = [threshold_at_fpr(scores, rate) for scores in traffic]
    if own.size:
        found.append(threshold_at_fpr(own, recipes.own_fpr_factor * rate))
    return max(found)


def _harmless_scores(scored: Scored) -> NDArray[np.float64]:
    harmless: NDArray[np.float64] = scored.scores[scored.labels == 0]
    return harmless


def _logistic(logit: float) -> float:
    return round(1 / (1 + math.exp(-logit)), 5)
