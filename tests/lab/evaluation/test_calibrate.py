"""Calibration: what is changed in a set, and in its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from detectors.feature_set import FeatureSet
from detectors.matching import Matcher
from monitor.config.sections import Config
from monitor.errors import ConfigError
from monitor.lab.evaluation import calibrate as module
from monitor.lab.evaluation.calibrate import (
    Calibrated,
    CalibrationRequest,
    calibrate,
    changed_values,
    edited,
    needed_events,
    split,
)
from monitor.sets.load import load_feature_set
from monitor.yaml_edit import YamlEdit
from tests.feature_set_factory import probe_data, set_data, summed_data, weighted_data

SUMMED = {
    "features": [
        {"index": 3, "label": "a", "weight": 0.5, "threshold": 1.0},
        {"index": 7, "label": "b", "weight": 0.25, "threshold": 1.0},
    ],
    "threshold": 2.0,
}
RECORD = {
    "benign": "b.jsonl", "n": 100, "target_fpr": 0.01, "measured_fpr": 0.0, "measured_n": 100,
    "interval_95": [0.0, 0.03], "date": "2026-01-01", "unit": "logistic", "activation_basis": "raw",
}  # fmt: skip


def changed(data: dict[str, Any], threshold: float, weights: bool) -> FeatureSet:
    edit = YamlEdit("set", yaml.safe_dump(data))
    for path, value in changed_values(FeatureSet.model_validate(data), threshold, weights).items():
        edit.set(path, value)
    return FeatureSet.model_validate(yaml.safe_load(edit.text()))


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize(
    ("data", "threshold"),
    [
        (weighted_data(), 0.62),
        (weighted_data(), 0.31),
        (probe_data(), 0.44),
        (summed_data(**SUMMED), 3.3),
        (set_data(), 1.7),
        (set_data(condition={"kind": "k_of_n", "k": 2}), 0.4),
    ],
    ids=["weighted up", "weighted down", "probe", "summed", "any", "k of n"],
)
def test_the_changed_set_fires_where_the_old_score_reaches_the_threshold(
    data: dict[str, Any], threshold: float, weights: bool
) -> None:
    old = FeatureSet.model_validate(data)
    if weights and old.condition is not None:
        with pytest.raises(ConfigError, match="without weights"):
            changed_values(old, threshold, weights)
        return
    new = changed(data, threshold, weights)
    if weights:
        assert new.threshold == old.threshold
    before, after = Matcher(old).detector, Matcher(new).detector
    values = np.random.default_rng(0).exponential(4.0, (300, len(old.columns()))).astype(np.float32)
    scores = np.array([before.score(v).value for v in values])
    fires = np.array([after.score(v).value >= after.threshold for v in values])
    clear = np.abs(scores - threshold) > 1e-4
    assert (fires == (scores >= threshold))[clear].all()
    assert 0 < fires.sum() < 300


def test_escalations_move_with_the_threshold() -> None:
    data = weighted_data(threshold=0.5, escalations=[{"score": 0.75, "severity": "high"}])
    (escalation,) = changed(data, 0.75, weights=False).escalations
    assert escalation.score == pytest.approx(0.9), "three to one was three times the old odds; nine to one is the new"
    assert changed(data, 0.75, weights=True).escalations[0].score == 0.75, "a new bias moves every score"


def test_weights_that_cannot_reach_the_threshold_are_refused() -> None:
    with pytest.raises(ConfigError, match="no bias moves"):
        changed_values(FeatureSet.model_validate(weighted_data(threshold=1.0)), 0.5, True)
    in_file = {**summed_data(**SUMMED), "weights": {"path": "w.safetensors", "sha256": "d" * 64}}
    with pytest.raises(ConfigError, match=r"its weights are in w.safetensors, which is not changed"):
        changed_values(FeatureSet.model_validate(in_file), 1.0, True)
    with pytest.raises(ConfigError, match="no factor brings"):
        changed_values(FeatureSet.model_validate(summed_data(**SUMMED)), -1.0, True)


def test_the_file_keeps_its_comments_and_layout(tmp_path: Path) -> None:
    data = weighted_data()
    rest = yaml.safe_dump({k: v for k, v in data.items() if k not in ("threshold", "bias")}, sort_keys=False)
    text = f"# mine\n{rest}bias: -1.0  # logit\nthreshold: 0.5  # tuned by hand\n# the end\n"
    path = tmp_path / "set.yaml"
    path.write_text(text)
    first = edited(load_feature_set(path), {("threshold",): 0.75}, RECORD)
    expected = text.replace("threshold: 0.5", "threshold: 0.75").splitlines()
    assert [line for line in first.splitlines() if line in expected] == expected, "nothing else is touched"
    path.write_text(first)
    loaded = load_feature_set(path)
    assert loaded.set.calibration is not None
    assert (loaded.set.calibration.unit, loaded.set.calibration.n) == ("logistic", 100)
    second = edited(loaded, {}, {**RECORD, "n": 222})
    assert [line for line in second.splitlines() if line not in first.splitlines()] == ["  n: 222"]


def test_a_diff_shows_and_write_applies_the_change(tmp_path: Path) -> None:
    path = tmp_path / "set.yaml"
    path.write_text(yaml.safe_dump(weighted_data()))
    loaded = load_feature_set(path)
    text = edited(loaded, {("threshold",): 0.75}, RECORD)
    result = Calibrated(loaded, "logistic", 0.5, 0.75, 0.0, 0.0, 100, (0.0, 0.03), text)
    assert "-threshold: 0.5\n+threshold: 0.75\n" in result.diff()
    assert path.read_text() != text
    result.write()
    assert path.read_text() == text
    assert load_feature_set(path).set.threshold == 0.75
    assert list(tmp_path.iterdir()) == [path], "nothing is left lying about"


def test_halves_are_drawn_by_the_seed() -> None:
    scores = np.arange(101, dtype=np.float64)
    halves = split(scores, seed=1)
    assert (halves.setting.size, halves.measuring.size) == (51, 50)
    assert sorted([*halves.setting, *halves.measuring]) == list(scores)
    assert list(split(scores, seed=1).setting) == list(halves.setting)
    assert list(split(scores, seed=2).setting) != list(halves.setting)


@pytest.mark.parametrize(("target", "needed"), [(0.01, 200), (0.1, 20), (0.03, 68), (0.001, 2000)])
def test_how_many_events_a_target_needs(target: float, needed: int) -> None:
    assert needed_events(target) == needed


def test_too_few_events_are_refused_with_the_number_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoModel:
        """Stands in for the model, which must not be needed to count rows."""

        def __init__(self, config: Config, console: object) -> None:
            sets = [load_feature_set(Path(path)) for path in config.feature_sets.paths]
            self.artefacts = type("Artefacts", (), {"sets": sets})

    monkeypatch.setattr(module, "RowReader", NoModel)
    benign = tmp_path / "benign.jsonl"
    benign.write_text('{"id": "a", "prompt": "p", "response": "r"}\n' * 199)
    path = tmp_path / "set.yaml"
    path.write_text(yaml.safe_dump(weighted_data()))
    with pytest.raises(ConfigError, match=r"needs at least 200 benign events .* there are 199"):
        calibrate(CalibrationRequest((str(path),), (benign,), 0.01), Config(), None)  # type: ignore[arg-type]


class Scores:
    """Stands in for the model: the same benign score for every row but for some at the top."""

    top: tuple[float, ...] = ()

    def __init__(self, config: Config, console: object) -> None:
        sets = [load_feature_set(Path(path)) for path in config.feature_sets.paths]
        self.artefacts = type("Artefacts", (), {"sets": sets})

    def scores(self, rows: list[object], _: str) -> dict[str, np.ndarray]:
        found = np.linspace(0.01, 0.2, len(rows))
        found[: len(self.top)] = self.top
        return {loaded.set.id: found for loaded in self.artefacts.sets}  # type: ignore[attr-defined]


def test_benign_scores_that_tie_at_the_top_give_no_threshold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Halfway between the highest score and the next one above would be 1.48, which no logistic score reaches."""
    monkeypatch.setattr(module, "RowReader", Scores)
    benign = tmp_path / "benign.jsonl"
    benign.write_text('{"id": "a", "prompt": "p", "response": "r"}\n' * 300)
    path = tmp_path / "set.yaml"
    path.write_text(yaml.safe_dump(weighted_data()))
    request = CalibrationRequest((str(path),), (benign,), 0.01)
    monkeypatch.setattr(Scores, "top", (0.98,) * 8)
    with pytest.raises(ConfigError, match=r"the \d highest scores of 150 benign events are all 0\.98, so no threshold"):
        calibrate(request, Config(), None)  # type: ignore[arg-type]
    monkeypatch.setattr(Scores, "top", tuple(0.9 + n / 100 for n in range(8)))
    (result,) = calibrate(request, Config(), None)  # type: ignore[arg-type]
    assert 0.2 < result.threshold < 1
