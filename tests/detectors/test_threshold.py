"""ThresholdDetector: the two conditions and the score, on both sides of the threshold and on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from detectors.scale import ACTIVATION, RATIO
from detectors.threshold import ThresholdDetector
from tests.feature_set_factory import make_set, make_summed

THREE = [
    {"index": 1, "label": "a", "threshold": 1.0, "weight": 1.0},
    {"index": 2, "label": "b", "threshold": 2.0, "weight": 0.5},
    {"index": 3, "label": "c", "threshold": 4.0, "weight": -2.0},
]
BELOW = np.nextafter(np.float32(2), np.float32(0))


def _score(activations: list[float], condition: dict[str, Any] | None) -> tuple[float, bool, list[float]]:
    """Under a condition, or a score with threshold 2."""
    summed = make_summed(features=THREE, threshold=2.0)
    detector = ThresholdDetector(summed if condition is None else make_set(features=THREE, condition=condition))
    score = detector.score(np.array([activations], np.float32).max(axis=0))
    return score.value, score.value >= detector.threshold, score.contributions.tolist()


@pytest.mark.parametrize(
    ("activations", "value", "active", "contributions"),
    [
        ([0, 0, 0], 0, False, [0, 0, 0]),
        ([0.5, 1, 2], 0.5, False, [0, 0, 0]),
        ([0, 2, 0], 1, True, [0, 1, 0]),  # exactly at the threshold
        ([0, BELOW, 0], BELOW / 2, False, [0, 0, 0]),
        ([3, 1, 8], 3, True, [3, 0, 2]),
    ],
)
def test_any(activations: list[float], value: float, active: bool, contributions: list[float]) -> None:
    assert _score(activations, {"kind": "any"}) == (pytest.approx(value), active, contributions)


@pytest.mark.parametrize(
    ("activations", "k", "value", "active"),
    [
        ([3, 1, 8], 1, 3, True),
        ([3, 1, 8], 2, 2, True),
        ([3, 1, 8], 3, 0.5, False),
        ([1, 2, 4], 3, 1, True),  # all exactly at their thresholds
        ([1, BELOW, 4], 3, BELOW / 2, False),
        ([9, 0, 0], 2, 0, False),
    ],
)
def test_k_of_n(activations: list[float], k: int, value: float, active: bool) -> None:
    assert _score(activations, {"kind": "k_of_n", "k": k})[:2] == (pytest.approx(value), active)


@pytest.mark.parametrize(
    ("activations", "value", "active"),
    [([1, 2, 0], 2, True), ([1, 1.875, 0], 1.9375, False), ([4, 4, 3], 0, False), ([9, 0, 1], 7, True)],
)
def test_score(activations: list[float], value: float, active: bool) -> None:
    assert _score(activations, None)[:2] == (pytest.approx(value), active)


def test_contributions_of_a_score_are_weight_times_activation() -> None:
    assert _score([4, 4, 3], None)[2] == [4, 2, -6]


def test_features_are_pooled_over_tokens_before_the_condition() -> None:
    detector = ThresholdDetector(make_set(condition={"kind": "k_of_n", "k": 2}))  # thresholds 2 and 4
    on_different_tokens = np.array([[2, 0], [0, 0], [0, 4]], np.float32)
    assert detector.score(on_different_tokens.max(axis=0)).value == 1.0


def test_scales_and_thresholds() -> None:
    ratio = ThresholdDetector(make_set())
    assert (ratio.threshold, ratio.scale) == (1.0, RATIO)
    summed = ThresholdDetector(make_summed(features=THREE, threshold=2.5))
    assert (summed.threshold, summed.scale) == (2.5, ACTIVATION)
