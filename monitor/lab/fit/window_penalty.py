"""The window penalty of a set, with which long harmless texts reach its threshold no more often than short ones."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from detectors.pooling import Pooling
from monitor.lab.data.recipe import SetRecipe
from monitor.lab.fit.set_thresholds import calibration_scores, threshold_for
from monitor.lab.fit.workbench import SetModel, Texts, Workbench

LENGTHS = (250, 500, 1000, 2000, 4000)
"""Tokens of the long texts."""
_TEXTS = 400
"""Of each length."""
_STEP, _STEPS = 0.02, 100


def over_windows(bench: Workbench, recipe: SetRecipe, model: SetModel) -> SetModel:
    """The model as the set pools: with a window penalty, if the recipe says that it has windows.

    It is the lowest with which long harmless texts reach the threshold no more often than `target_fpr` on average over
    LENGTHS. Few harmless texts are that long, so those that set the threshold are joined. A higher threshold would also
    do, but the penalty costs short texts nothing.
    """
    if not recipe.windows:
        return model
    recipes = bench.recipes
    texts = [*bench.calibration_texts(), *bench.other_own(recipe)]
    read = {id(t): (model.whole_logits(t), _windows(model, t)) for t in texts}
    evidence = np.concatenate([_evidence(bench, recipe, model, t) for t in bench.calibration_texts(recipe.benign)])
    pooling = recipes.pooling(recipe)
    long = [_highest(joined_texts(evidence, length), pooling) + model.bias for length in LENGTHS]
    counts = [len(pooling.windows(length)) for length in LENGTHS]

    def holds(step: int) -> bool:
        penalty = step * _STEP

        def logits(texts: Texts) -> NDArray[np.float64]:
            whole, windows = read[id(texts)]
            return whole if texts.windows is None else texts.windows.highest(whole, windows, penalty)

        threshold = threshold_for(recipes, *calibration_scores(bench, recipe, logits), recipes.target_fpr)
        rates = [(h - penalty * np.log(n) >= threshold).mean() for h, n in zip(long, counts, strict=True)]
        return float(np.mean(rates)) <= recipes.target_fpr

    return replace(model, window_penalty=round(bisect_left(range(_STEPS), True, key=holds) * _STEP, 2))


def joined_texts(evidence: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Random stretches [text, token] of `evidence` [token], which starts again at its end."""
    starts = np.random.default_rng(0).integers(evidence.size, size=_TEXTS)
    found: NDArray[np.float64] = evidence[(starts[:, None] + np.arange(length)) % evidence.size]
    return found


def _highest(texts: NDArray[np.float64], pooling: Pooling) -> NDArray[np.float64]:
    """The highest pooled evidence [text] of the windows of `texts` [text, token]."""
    before = np.pad(texts.cumsum(axis=1), ((0, 0), (1, 0)))
    starts, stops = np.array(pooling.windows(texts.shape[1])).T
    pooled = (before[:, stops] - before[:, starts]) / (stops - starts + pooling.prior_tokens)
    return np.asarray(pooled.max(axis=1))


def _evidence(bench: Workbench, recipe: SetRecipe, model: SetModel, texts: Texts) -> NDArray[np.float64]:
    """[token] The evidence of the harmless segments one after the other; within a segment or window it is even."""
    entries = np.array(texts.harmless(recipe.segments), dtype=np.int64)
    logits, tokens = model.whole_logits(texts)[entries], texts.table.tokens[entries]
    if texts.windows is not None:
        chosen = np.isin(texts.windows.entry, entries) & texts.windows.apart()
        order = np.concatenate([entries, texts.windows.entry[chosen]])
        split = np.isin(entries, texts.windows.entry)
        logits = np.concatenate([logits, model.window_logits(texts.windows)[chosen]])
        tokens = np.concatenate([tokens, texts.windows.tokens[chosen]])
        kept = np.concatenate([~split, np.ones(int(chosen.sum()), np.bool_)])
        place = np.argsort(order, kind="stable")
        place = place[kept[place]]
        logits, tokens = logits[place], tokens[place]
    sums = (logits - model.bias) * (tokens + bench.recipes.prior_tokens)
    return np.repeat(sums / tokens, tokens)


def _windows(model: SetModel, texts: Texts) -> NDArray[np.float64]:
    return np.zeros(0) if texts.windows is None else model.window_logits(texts.windows)
