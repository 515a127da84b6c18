"""Contenders: the detectors that a set is compared with, all fitted on the same training rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from detectors.feature_set import FeatureSet
from monitor.lab.fit.baselines import word_only_scores
from monitor.lab.fit.logistic import SparseLogistic, fit_logistic, fit_sparse_logistic
from monitor.lab.fit.workbench import Texts, Training
from monitor.lab.statistics import column_aurocs

DENSE_C = 1e-3
"""Inverse strength of the dense probe's L2 penalty; the figures of the shipped sets use the same."""
_WEIGHTED_C = 3e-4
_COLUMNS_AT_ONCE = 512

Floats = NDArray[np.float64]


class Contender(Protocol):
    """A fitted detector."""

    @property
    def name(self) -> str:
        """Its name in reports."""

    @property
    def detail(self) -> str:
        """What it is, in a few words."""

    def scores(self, texts: Texts) -> Floats:
        """A score [entry] for every entry; higher is riskier."""


@dataclass(frozen=True)
class Missing:
    """A contender that can't take part, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class SingleFeature:
    """One latent's pooled activation."""

    latent: int
    detail: str
    name: str = "single_feature"

    def scores(self, texts: Texts) -> Floats:
        return texts.x[:, self.latent].astype(np.float64)


@dataclass(frozen=True)
class Weighted:
    """A logistic model over pooled latents, like a weighted set, but fitted only on the training rows."""

    model: SparseLogistic
    detail: str
    name: str = "weighted"

    def scores(self, texts: Texts) -> Floats:
        return self.model.logits(texts.x)


@dataclass(frozen=True)
class DenseProbe:
    """A logistic model on the mean residual stream."""

    model: SparseLogistic
    detail: str = "logistic regression on the mean residual stream"
    name: str = "dense_probe"

    def scores(self, texts: Texts) -> Floats:
        return self.model.logits(texts.table.residual)


class WordOnly:
    """Naive Bayes on which words and punctuation marks occur."""

    name = "word_only"
    detail = "naive Bayes on words and punctuation"

    def __init__(self, training: Training) -> None:
        self._score = word_only_scores(training.words(), training.y, training.weights)

    def scores(self, texts: Texts) -> Floats:
        return self._score(texts.texts())


def fitted(feature_set: FeatureSet, training: Training) -> list[Contender]:
    """The contenders that need only training rows. These must have both labels."""
    latents = training.latents()
    keep = len(feature_set.features)
    weighted = fit_sparse_logistic(latents, training.y, training.weights, _WEIGHTED_C, keep)
    return [
        best_single_feature(feature_set, latents, training.y),
        Weighted(weighted, f"logistic regression on {weighted.latents.size} latents"),
        DenseProbe(fit_logistic(training.residual(), training.y, training.weights, DENSE_C)),
        WordOnly(training),
    ]


def best_single_feature(feature_set: FeatureSet, latents: NDArray[np.float32], y: NDArray[np.int64]) -> SingleFeature:
    """The latent with the highest AUROC on the training rows `latents` [entry, s] with labels `y` [entry]."""
    aurocs = np.concatenate(
        [
            column_aurocs(latents[:, first : first + _COLUMNS_AT_ONCE], y)
            for first in range(0, latents.shape[1], _COLUMNS_AT_ONCE)
        ]
    )
    best = int(aurocs.argmax())
    label = next((f.label for f in feature_set.features if f.index == best), "not in the set")
    return SingleFeature(best, f"latent {best} ({label}), AUROC {aurocs[best]:.2f} on the training rows")
