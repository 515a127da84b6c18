"""WeightedDetector against the logistic function in exact arithmetic."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.scale import LOGISTIC
from detectors.weighted import WeightedDetector
from tests.feature_set_factory import make_weighted


def logistic(logit: float) -> float:
    """1 / (1 + exp(-x)) with 60 digits."""
    with localcontext() as context:
        context.prec = 60
        return float(1 / (1 + (-Decimal(logit)).exp()))


def test_a_worked_example() -> None:
    detector = WeightedDetector(make_weighted())  # logit = -1 + 0.5 a3 - 0.25 a7
    score = detector.score(np.array([[1, 4], [6, 0]], np.float32).max(axis=0))
    assert score.pooled.tolist() == [6, 4]
    assert score.contributions.tolist() == [3, -1]
    assert score.value == pytest.approx(0.7310585786300049)  # logistic(1)
    assert (detector.threshold, detector.scale) == (0.5, LOGISTIC)


def test_exactly_at_the_threshold() -> None:
    detector = WeightedDetector(make_weighted())
    assert detector.score(np.array([[2, 0]], np.float32).max(axis=0)).value == 0.5 == detector.threshold


@pytest.mark.parametrize(
    ("bias", "value"), [(-1e308, 0.0), (-10_000.0, 0.0), (10_000.0, 1.0), (1e308, 1.0), (-700.0, logistic(-700))]
)
def test_huge_logits_neither_overflow_nor_warn(bias: float, value: float) -> None:
    detector = WeightedDetector(make_weighted(bias=bias))
    assert detector.score(np.zeros(2, np.float32)).value == pytest.approx(value, rel=1e-12)


@given(st.floats(-60, 60), st.floats(0, 100, width=32), st.floats(0, 100, width=32))
def test_equals_the_closed_form(bias: float, first: float, second: float) -> None:
    detector = WeightedDetector(make_weighted(bias=bias))
    score = detector.score(np.array([[first, second]], np.float32).max(axis=0))
    assert score.value == pytest.approx(logistic(bias + 0.5 * first - 0.25 * second), rel=1e-4)
    assert 0 <= score.value <= 1
