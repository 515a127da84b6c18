"""Trials of precision: when int8 with confirmation is said to decide as fp32 does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from monitor.compiler.calibration_events import CalibrationEvent
from monitor.compiler.precision_trials import MAX_AUROC_LOSS, PrecisionTrials
from monitor.readers.onnx.manifest import Verification
from monitor.sets.load import LoadedSet
from tests.tiny_bundle import TinySource, calibration_events, tiny_source

EVENTS = 1_000


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> TinySource:
    return tiny_source(tmp_path_factory.mktemp("source"))


def probability(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    scores: NDArray[np.float64] = 1 / (1 + np.exp(-log_odds))
    return scores


def quiet(sets: int = 1) -> NDArray[np.float64]:
    """Log-odds [event, set] of events far below the threshold, those labelled 1 above the others."""
    labels = np.array([e.label for e in calibration_events(EVENTS)])
    return np.repeat(-14.0 + 2.0 * labels[:, None] + np.linspace(0, 1, EVENTS)[:, None], sets, axis=1)


def verified(
    sets: Sequence[LoadedSet],
    exact: NDArray[np.float64],
    found: NDArray[np.float64],
    margins: Mapping[str, float],
    events: Sequence[CalibrationEvent] | None = None,
) -> Verification:
    residual = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)
    residual[:5] *= 100
    return PrecisionTrials(
        sets=sets,
        events=calibration_events(EVENTS) if events is None else events,
        tokens=7,
        exact=probability(exact),
        found=probability(found),
        margins=margins,
        residuals=(residual, residual * np.float32(1.01)),
        max_norm=30.0,
    ).verification()


@pytest.mark.parametrize(("missed", "accepted"), [(0, True), (5, True), (6, False)])
def test_int8_must_decide_as_fp32(missed: int, accepted: bool, source: TinySource) -> None:
    """An event that is active in fp32 and far below the threshold in int8 is never read again."""
    exact, found = quiet(), quiet()
    exact[:missed] = 0.5
    result = verified([source.feature_set()], exact, found, {"one": 0.1})
    assert result.agreement == result.raw_agreement == pytest.approx(1 - missed / EVENTS)
    assert result.accepted == accepted
    assert (result.events, result.tokens, result.sets) == (EVENTS, 7, {"one": "e" * 64})


def test_what_is_near_the_threshold_is_read_again_and_agrees(source: TinySource) -> None:
    source_of_noise = np.random.default_rng(0)
    exact = quiet()
    exact[:100] = source_of_noise.uniform(-0.5, 0.5, (100, 1))
    found = exact + source_of_noise.normal(0, 0.5, exact.shape)
    result = verified([source.feature_set()], exact, found, {"one": 1.5})
    assert result.raw_agreement < 0.97
    assert result.agreement > 0.999
    assert result.confirmed == pytest.approx(0.1, abs=0.01)


def test_without_a_margin_everything_is_read_again(source: TinySource) -> None:
    result = verified([source.feature_set()], quiet(), quiet() + 1, {})
    assert (result.confirmed, result.agreement) == (1, 1)


@pytest.mark.parametrize(("category", "accepted"), [("unsafe_code", False), ("bias", True)])
def test_auroc_may_not_fall_on_the_sets_own_category(category: str, accepted: bool, source: TinySource) -> None:
    """No decision changes, but far below the threshold int8 puts the events in another order."""
    exact = quiet()
    labels = np.array([e.label for e in calibration_events(EVENTS)])
    result = verified([source.feature_set(category=category)], exact, exact - 4.0 * labels[:, None], {"one": 0.1})
    assert result.agreement == 1
    assert result.accepted == accepted
    assert result.auroc_loss == ({"one": 1.0} if category == "unsafe_code" else {})
    assert result.auroc_loss_at_least == result.auroc_loss


def test_an_auroc_that_falls_by_chance_is_no_reason(source: TinySource) -> None:
    """Of few labelled events, two that change places are a loss, but not beyond what chance gives."""
    events = [
        CalibrationEvent(e.event, e.label if n < 20 else None, e.category)
        for n, e in enumerate(calibration_events(EVENTS))
    ]
    exact = quiet()
    found = exact.copy()
    found[[4, 5]] = found[[5, 4]] + np.array([[-1.0], [1.0]])  # a risky one and a harmless one
    result = verified([source.feature_set()], exact, found, {"one": 0.1}, events)
    assert result.auroc_loss["one"] > MAX_AUROC_LOSS
    assert result.auroc_loss_at_least["one"] <= MAX_AUROC_LOSS
    assert result.accepted


def test_a_set_that_looks_at_what_no_event_has(source: TinySource) -> None:
    exact, found = quiet(2), quiet(2) + 0.1
    exact[:, 1] = found[:, 1] = np.nan
    sets = [source.feature_set("first"), source.feature_set("second", segments=["tool"])]
    result = verified(sets, exact, found, {"first": 0.5, "second": 0.5})
    assert result.accepted
    assert set(result.auroc_loss) == {"first"}


@pytest.mark.parametrize("label", [1, 0, None])
def test_events_of_one_label_only(label: int | None, source: TinySource) -> None:
    events = calibration_events(EVENTS, labels=(label,))
    result = verified([source.feature_set()], quiet(), quiet(), {"one": 0.1}, events)
    assert result.auroc_loss == {}
    assert result.confirmed == (1 if label == 1 else 0)  # of traffic that nobody has, the worst is taken


def test_massive_activations_are_counted_apart(source: TinySource) -> None:
    result = verified([source.feature_set()], quiet(), quiet(), {"one": 0.1})
    assert 0 < result.residual_fvu < 2e-4
    assert result.massive_tokens == 5
    assert result.massive_residual_fvu is not None
