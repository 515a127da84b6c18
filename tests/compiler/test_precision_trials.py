"""Trials of precision: which is taken and why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from monitor.compiler.calibration_events import CalibrationEvent
from monitor.compiler.precision_trials import MAX_AUROC_LOSS, PrecisionTrials
from monitor.readers.onnx.bundle import EXACT_GRAPH, Bundle
from monitor.readers.onnx.reader import OnnxReader
from monitor.readers.reader import Chunk
from tests.tiny_bundle import LATENTS, TinySource, calibration_events, tiny_source
from tests.tiny_model import texts

EVENTS = 1_000
SPEEDS = {"int8": 300.0, "fp32": 100.0}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> TinySource:
    return tiny_source(tmp_path_factory.mktemp("source"))


class FakeScores:
    """Says the same of any event every time: `exact` [event, set] by the first reader it is given, then `found`."""

    def __init__(self, exact: NDArray[np.float64], found: NDArray[np.float64]) -> None:
        self._scores = [exact, found]
        self.readers: list[OnnxReader] = []

    def __call__(self, reader: OnnxReader, events: Sequence[CalibrationEvent]) -> NDArray[np.float64]:
        self.readers.append(reader)
        scores = self._scores[len(self.readers) - 1]
        assert scores.shape[0] == len(events)
        return scores


def probability(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    scores: NDArray[np.float64] = 1 / (1 + np.exp(-log_odds))
    return scores


def quiet(sets: int = 1) -> NDArray[np.float64]:
    """Log-odds [event, set] of events far below the threshold, those labelled 1 above the others."""
    labels = np.array([e.label for e in calibration_events(EVENTS)])
    return np.repeat(-14.0 + 2.0 * labels[:, None] + np.linspace(0, 1, EVENTS)[:, None], sets, axis=1)


@pytest.fixture
def speeds(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What the precisions are measured to read a second."""
    given = dict(SPEEDS)
    monkeypatch.setattr(PrecisionTrials, "speeds", lambda _, readers: {name: given[name] for name in readers})
    return given


def compiled(
    source: TinySource,
    out: Path,
    exact: NDArray[np.float64],
    found: NDArray[np.float64],
    events: Sequence[CalibrationEvent] | None = None,
    **options: Any,
) -> Bundle:
    judge = FakeScores(probability(exact), probability(found))
    options = {"precision": "auto", **options}
    return source.compile(out / "bundle", judge, calibration_events(EVENTS) if events is None else events, **options)


@pytest.mark.parametrize(("missed", "chosen"), [(0, "int8"), (5, "int8"), (6, "fp32")])
def test_int8_must_decide_as_fp32(
    missed: int, chosen: str, source: TinySource, speeds: dict[str, float], tmp_path: Path
) -> None:
    """An event that is active in fp32 and far below the threshold in int8 is never read again."""
    exact, found = quiet(), quiet()
    exact[:missed] = 0.5
    manifest = compiled(source, tmp_path, exact, found).manifest
    first = manifest.precision.candidates[0]
    assert first.precision == "int8"
    assert first.agreement == first.raw_agreement == pytest.approx(1 - missed / EVENTS)
    assert first.accepted == (chosen == "int8")
    assert manifest.precision.chosen == chosen
    assert [c.precision for c in manifest.precision.candidates] == ["int8", "fp32"][: 1 + (chosen == "fp32")]
    assert (manifest.precision.asked, manifest.precision.events) == ("auto", EVENTS)


def test_what_is_near_the_threshold_is_read_again_and_agrees(
    source: TinySource, speeds: dict[str, float], tmp_path: Path
) -> None:
    source_of_noise = np.random.default_rng(0)
    exact = quiet()
    exact[:100] = source_of_noise.uniform(-0.5, 0.5, (100, 1))
    found = exact + source_of_noise.normal(0, 0.5, exact.shape)
    (candidate,) = compiled(source, tmp_path, exact, found).manifest.precision.candidates
    assert candidate.raw_agreement < 0.97
    assert candidate.agreement > 0.999
    assert candidate.confirmed == pytest.approx(0.1, abs=0.01)
    assert candidate.effective_tokens_per_s == pytest.approx(1 / (1 / 300 + candidate.confirmed / 100), rel=1e-3)
    assert candidate.margins == {"one": pytest.approx(1.5, rel=0.1)}


def test_margins_are_three_deviations_of_each_set(source: TinySource, speeds: dict[str, float], tmp_path: Path) -> None:
    exact = quiet(2)
    found = exact + np.random.default_rng(1).normal(0, (0.1, 0.4), exact.shape)
    sets = [source.feature_set("first"), source.feature_set("second")]
    precision = compiled(source, tmp_path, exact, found, sets=sets).manifest.precision
    deviations = (found - exact).std(axis=0)
    assert precision.margins == precision.candidates[-1].margins
    assert precision.margins == pytest.approx(dict(zip(("first", "second"), 3 * deviations, strict=True)), rel=1e-3)


@pytest.mark.parametrize(("category", "chosen"), [("unsafe_code", "fp32"), ("bias", "int8")])
def test_auroc_may_not_fall_on_the_sets_own_category(
    category: str, chosen: str, source: TinySource, speeds: dict[str, float], tmp_path: Path
) -> None:
    """No decision changes, but far below the threshold int8 puts the events in another order."""
    exact = quiet()
    labels = np.array([e.label for e in calibration_events(EVENTS)])
    found = exact - 4.0 * labels[:, None]
    sets = [source.feature_set(category=category)]
    precision = compiled(source, tmp_path, exact, found, sets=sets).manifest.precision
    first = precision.candidates[0]
    assert first.agreement == 1
    assert precision.chosen == chosen
    assert first.auroc_loss == ({"one": 1.0} if category == "unsafe_code" else {})
    assert first.auroc_loss_at_least == first.auroc_loss


def test_an_auroc_that_falls_by_chance_is_no_reason(
    source: TinySource, speeds: dict[str, float], tmp_path: Path
) -> None:
    """Of few labelled events, two that change places are a loss, but not beyond what chance gives."""
    events = [
        CalibrationEvent(e.event, e.label if n < 20 else None, e.category)
        for n, e in enumerate(calibration_events(EVENTS))
    ]
    exact = quiet()
    found = exact.copy()
    found[[4, 5]] = found[[5, 4]] + np.array([[-1.0], [1.0]])  # a risky one and a harmless one
    precision = compiled(source, tmp_path, exact, found, events).manifest.precision
    first = precision.candidates[0]
    assert first.auroc_loss["one"] > MAX_AUROC_LOSS
    assert first.auroc_loss_at_least["one"] <= MAX_AUROC_LOSS
    assert precision.chosen == "int8"


def test_reading_much_again_can_cost_more_than_int8_gains(
    source: TinySource, speeds: dict[str, float], tmp_path: Path
) -> None:
    exact = quiet()
    exact[:800] = -0.5
    found = exact + np.random.default_rng(2).normal(0, 0.5, exact.shape)
    precision = compiled(source, tmp_path, exact, found).manifest.precision
    assert precision.candidates[0].confirmed > 0.67
    assert precision.chosen == "fp32"
    assert precision.margins == {}


def test_where_fp32_is_faster_nothing_is_judged(source: TinySource, speeds: dict[str, float], tmp_path: Path) -> None:
    speeds |= {"fp32": 400.0}
    precision = source.compile(tmp_path / "bundle", events=calibration_events(4), precision="auto").manifest.precision
    assert [c.precision for c in precision.candidates] == ["fp32"]
    assert precision.chosen == "fp32"


def test_fp32_on_demand_measures_nothing(source: TinySource, tmp_path: Path) -> None:
    bundle = source.compile(tmp_path / "bundle", precision="fp32")
    precision = bundle.manifest.precision
    assert (precision.chosen, precision.asked, precision.candidates, precision.margins) == ("fp32", "fp32", (), {})
    assert not (bundle.folder / EXACT_GRAPH).exists()
    assert bundle.exact_reader(LATENTS) is None


def test_int8_on_demand_is_taken_whatever_it_decides(
    source: TinySource, speeds: dict[str, float], tmp_path: Path
) -> None:
    exact, found = quiet(), quiet()
    exact[:200] = 0.5
    bundle = compiled(source, tmp_path, exact, found, precision="int8")
    precision = bundle.manifest.precision
    assert (precision.chosen, precision.asked) == ("int8", "int8")
    (candidate,) = precision.candidates
    assert not candidate.accepted
    # both graphs are there, and they are what they are called
    (text,) = texts(50)
    rounding, exactly = bundle.reader(LATENTS), bundle.exact_reader(LATENTS)
    assert exactly is not None
    plain = source.compile(tmp_path / "plain").reader(LATENTS)
    np.testing.assert_array_equal(exactly.read([Chunk(text)])[0], plain.read([Chunk(text)])[0])
    assert not np.array_equal(rounding.read([Chunk(text)])[0], plain.read([Chunk(text)])[0])
    assert 0 < candidate.residual_fvu < 0.02


def test_a_set_that_looks_at_what_no_event_has_gets_no_margin(
    source: TinySource, speeds: dict[str, float], tmp_path: Path
) -> None:
    """A margin that is not a number would let nothing through to be read again, and the set would never be active."""
    exact, found = quiet(2), quiet(2) + 0.1
    exact[:, 1] = found[:, 1] = np.nan
    sets = [source.feature_set("first"), source.feature_set("second", segments=["tool"])]
    precision = compiled(source, tmp_path, exact, found, sets=sets).manifest.precision
    assert precision.chosen == "int8"
    assert set(precision.margins) == set(precision.candidates[0].auroc_loss) == {"first"}


@pytest.mark.parametrize("label", [1, 0, None])
def test_events_of_one_label_alone(
    label: int | None, source: TinySource, speeds: dict[str, float], tmp_path: Path
) -> None:
    events = calibration_events(EVENTS, labels=(label,))
    precision = compiled(source, tmp_path, quiet(), quiet(), events, precision="int8").manifest.precision
    (candidate,) = precision.candidates
    assert candidate.auroc_loss == {}
    assert candidate.confirmed == (1 if label == 1 else 0)  # of traffic that nobody has, the worst is taken
