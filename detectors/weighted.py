"""WeightedDetector: a logistic model over pooled feature activations."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.feature_set import FeatureSet
from detectors.scale import LOGISTIC, Scale, logistic
from detectors.score import Score


class WeightedDetector:
    """score = 1 / (1 + exp(-(bias + sum of weight[i] * a[i]))) over the pooled activations a[i]."""

    scales: ClassVar[tuple[Scale, ...]] = (LOGISTIC,)

    def __init__(self, feature_set: FeatureSet) -> None:
        self._bias = feature_set.bias
        self.threshold = feature_set.threshold or 0.0
        self.scale: Scale = LOGISTIC
        self._weights = np.array([f.weight or 0.0 for f in feature_set.features], dtype=np.float32)

    def score(self, pooled: NDArray[np.float32]) -> Score:
        return self.scored(pooled)

    def scored(self, pooled: NDArray[np.float32], evidence: float = 0.0) -> Score:
        """Like `score`, with `evidence` added to the logit."""
        contributions = self._weights * pooled
        return Score(logistic(self._bias + evidence + float(contributions.sum())), pooled, contributions)
