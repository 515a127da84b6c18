"""ThresholdDetector: pooled activations against thresholds in the units of the SAE."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.feature_set import FeatureSet
from detectors.scale import ACTIVATION, RATIO, Scale
from detectors.score import Score


class ThresholdDetector:
    """Active under one of three rules over the pooled activations a[i]:

    condition any       max of a[i] / threshold[i] >= 1
    condition k_of_n    the k-th largest of a[i] / threshold[i] >= 1
    no condition        sum of weight[i] * a[i] >= threshold of the set
    """

    scales: ClassVar[tuple[Scale, ...]] = (RATIO, ACTIVATION)

    def __init__(self, feature_set: FeatureSet) -> None:
        self._condition = feature_set.condition
        self._active_from = feature_set.active_from
        self._weights = np.array([f.weight or 0.0 for f in feature_set.features], dtype=np.float32)
        self._thresholds = np.array([f.threshold or 0.0 for f in feature_set.features], dtype=np.float32)

    @property
    def threshold(self) -> float:
        return self._active_from

    @property
    def scale(self) -> Scale:
        return ACTIVATION if self._condition is None else RATIO

    def score(self, pooled: NDArray[np.float32]) -> Score:
        if self._condition is None:
            contributions = self._weights * pooled
            return Score(float(contributions.sum()), pooled, contributions)
        ratios = pooled / self._thresholds  # [feature]
        rank = self._condition.k or 1
        value = float(np.sort(ratios)[-rank])
        return Score(value, pooled, np.where(ratios >= 1, ratios, 0).astype(np.float32))
