"""WeightedDetector: a logistic model over pooled feature activations."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.feature_set import FeatureSet
from detectors.score import Score


class WeightedDetector:
    """score = 1 / (1 + exp(-(bias + sum of weight[i] * a[i]))) over the pooled activations a[i]."""

    def __init__(self, feature_set: FeatureSet) -> None:
        self._bias = feature_set.bias
        self._threshold = feature_set.threshold or 0.0
        self._weights = np.array([f.weight or 0.0 for f in feature_set.features], dtype=np.float32)

    @property
    def threshold(self) -> float:
        return self._threshold

    @property
    def unit(self) -> str:
        return "logistic"

    def distance(self, score: float) -> float:
        return _log_odds(score) - _log_odds(self._threshold)

    def mean(self, scores: Sequence[float]) -> float:
        return _logistic(sum(map(_log_odds, scores)) / len(scores))

    def score(self, pooled: NDArray[np.float32]) -> Score:
        return self.scored(pooled)

    def scored(self, pooled: NDArray[np.float32], evidence: float = 0.0) -> Score:
        """As `score`, with more `evidence` added to the logit."""
        contributions = self._weights * pooled
        return Score(_logistic(self._bias + evidence + float(contributions.sum())), pooled, contributions)


def _log_odds(p: float) -> float:
    # scores are rounded to 0 and 1 at the far ends
    p = min(max(p, 1e-15), 1 - 1e-15)
    return math.log(p / (1 - p))


def _logistic(logit: float) -> float:
    # exp of a large number would overflow; both forms are the same function
    return 1 / (1 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1 + math.exp(logit))
