"""WeightedDetector: a logistic model over pooled feature activations."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from detectors.feature_set import FeatureSet
from detectors.pooling import pool
from detectors.score import Score


class WeightedDetector:
    """score = 1 / (1 + exp(-(bias + sum of weight[i] * a[i]))) over the pooled activations a[i]."""

    def __init__(self, feature_set: FeatureSet) -> None:
        self._pooling = feature_set.pooling
        self._bias = feature_set.bias
        self._at_least = feature_set.condition.at_least or 0.0
        self._weights = np.array([f.weight or 0.0 for f in feature_set.features], dtype=np.float32)

    @property
    def threshold(self) -> float:
        return self._at_least

    @property
    def unit(self) -> str:
        return "logistic"

    def score(self, values: NDArray[np.float32]) -> Score:
        pooled = pool(values, self._pooling)
        contributions = self._weights * pooled
        logit = self._bias + float(contributions.sum())
        # exp of a positive number could overflow; both forms are the same function
        value = 1 / (1 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1 + math.exp(logit))
        return Score(value, pooled, contributions)
