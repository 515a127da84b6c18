"""Detector: scores the pooled activations of a segment; and the registry of detectors."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from detectors.feature_set import FeatureSet
from detectors.registry import Registry, RegistryError
from detectors.scale import Scale
from detectors.score import Score


class Detector(Protocol):
    """Scores segments; a segment matches if its score reaches `threshold`. Pure: no state, no I/O."""

    @property
    def threshold(self) -> float:
        """The lowest score at which the set is active."""

    @property
    def scale(self) -> Scale:
        """The scale of the score; one of the class's `scales`."""

    def score(self, pooled: NDArray[np.float32]) -> Score:
        """Scores pooled activations [column], in the order of FeatureSet.columns."""


class DetectorType(Protocol):
    """A class of detectors, which is what a set names."""

    @property
    def scales(self) -> tuple[Scale, ...]:
        """All scales that its detectors may score on, so that views can show alerts without the set."""

    def __call__(self, feature_set: FeatureSet) -> Detector:
        """The detector of a set. Raises ValueError if the set lacks what it needs."""


DETECTORS: Registry[DetectorType] = Registry(
    "detector",
    "latentwatch.detectors",
    {
        "threshold": "detectors.threshold:ThresholdDetector",
        "weighted": "detectors.weighted:WeightedDetector",
        "probe": "detectors.probe:ProbeDetector",
    },
    members=("scales", "score"),
)


def detector_of(feature_set: FeatureSet) -> Detector:
    """The detector that the set names. Raises ValueError if there is none, or if it can't be used for this set."""
    return DETECTORS.load(feature_set.detector)(feature_set)


def scale_of(detector: str, unit: str) -> Scale:
    """The scale of an alert's score. If the alert's detector isn't installed here, one that only has the unit."""
    plain = Scale(unit, unit)
    try:
        scales = DETECTORS.load(detector).scales
    except RegistryError:
        return plain
    return next((scale for scale in scales if scale.unit == unit), plain)
