"""ProbeDetector: a linear probe on the residual stream, and the features that explain and sharpen it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from detectors.score import Score
from detectors.weighted import WeightedDetector


class ProbeDetector(WeightedDetector):
    """score = 1 / (1 + exp(-(bias + p + sum of weight[i] * a[i]))) over the pooled activations a[i].

    p is the pooled projection of the tokens on the probe's direction; its column follows those of the features.
    """

    def score(self, pooled: NDArray[np.float32]) -> Score:
        probe = float(pooled[-1])
        return replace(self.scored(pooled[:-1], probe), probe=probe)
