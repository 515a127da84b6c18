"""Scales: margins and means, and how views show an alert's score."""

from __future__ import annotations

import math

import pytest

from detectors.detector import scale_of
from detectors.scale import ACTIVATION, LOGISTIC, RATIO, Scale, log_odds, logistic


def test_straight_scales_subtract_and_average() -> None:
    assert ACTIVATION.margin(5.5, 3.0) == 2.5
    assert ACTIVATION.margin(2.0, 3.0) == -1.0
    assert RATIO.mean([0.5, 2.5]) == 1.5


def test_logistic_scores_are_compared_and_averaged_as_log_odds() -> None:
    assert LOGISTIC.margin(logistic(3.0), logistic(1.0)) == pytest.approx(2.0)
    assert LOGISTIC.margin(0.2, 0.5) < 0
    assert LOGISTIC.mean([logistic(3.0), logistic(-1.0)]) == pytest.approx(logistic(1.0))


def test_thresholds_outside_of_the_scale_are_refused() -> None:
    assert [LOGISTIC.refusal(t) for t in (0.0, 0.5, 1.0)] == [""] * 3
    assert LOGISTIC.refusal(80) == "80 is never reached, because scores are 1 at most; use enabled: false"
    assert LOGISTIC.refusal(-3) == "-3 is below every score, because scores are 0 at least"
    assert ACTIVATION.refusal(80) == ACTIVATION.refusal(-3) == ""


@pytest.mark.parametrize("rounded", [0.0, 1.0])
def test_scores_that_were_rounded_have_finite_margins(rounded: float) -> None:
    assert math.isfinite(LOGISTIC.margin(rounded, 0.5))
    assert log_odds(0.5) == 0.0


@pytest.mark.parametrize(
    ("detector", "unit", "scale"),
    [
        ("weighted", "logistic", LOGISTIC),
        ("probe", "logistic", LOGISTIC),
        ("threshold", "activation", ACTIVATION),
        ("threshold", "activation/threshold", RATIO),
        ("weighted", "of another version", Scale("of another version", "of another version")),
        ("not-installed", "stars", Scale("stars", "stars")),
    ],
)
def test_a_view_finds_the_scale_of_an_alert(detector: str, unit: str, scale: Scale) -> None:
    assert scale_of(detector, unit) == scale
