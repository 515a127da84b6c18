"""Calibrate: chooses thresholds of sets from benign traffic, for a given false-positive rate."""

from __future__ import annotations

import difflib
import math
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from detectors.feature_set import FeatureSet
from detectors.matching import Matcher
from monitor.config.sections import Config
from monitor.errors import ConfigError
from monitor.lab.data.chosen_sets import with_sets
from monitor.lab.data.rows import LabelledRow, load_benign
from monitor.lab.reading.row_reader import RowReader
from monitor.lab.statistics import Floats, binomial_interval, threshold_at_fpr
from monitor.sets.load import LoadedSet
from monitor.sets.parts import read_parts
from monitor.yaml_edit import YamlEdit

_DIGITS = 5


@dataclass(frozen=True)
class CalibrationRequest:
    """Which sets to calibrate, on which events and for which rate."""

    sets: tuple[str, ...]
    benign: tuple[Path, ...]
    target_fpr: float
    weights: bool = False
    """Whether to keep the threshold and change the bias or the weights instead."""
    seed: int = 0
    limit: int | None = None
    overridden: bool = False
    """Whether the config's changes to features apply. The threshold is then one for the config, not for the file."""


@dataclass(frozen=True)
class Split:
    """Benign scores in two halves: `setting` [event] chooses the threshold, `measuring` [event] measures its rate."""

    setting: Floats
    measuring: Floats


@dataclass(frozen=True)
class Calibrated:
    """One set's new threshold, in the units of its score, and the file that holds it."""

    loaded: LoadedSet
    unit: str
    before: float
    threshold: float
    """With `weights`, the threshold on the old scores; the threshold in the file stays the same."""
    measured_fpr: float
    measured_before: float
    measured_n: int
    interval_95: tuple[float, float]
    text: str
    """The text of the changed file."""

    def diff(self) -> str:
        """The change as a unified diff."""
        path = str(self.loaded.path)
        before = _text(self.loaded.path).splitlines(keepends=True)
        return "".join(difflib.unified_diff(before, self.text.splitlines(keepends=True), path, path))

    def write(self) -> None:
        """Replaces the file with the new text, completely or not at all. Raises ConfigError if that fails."""
        path = self.loaded.path.resolve()
        part = path.with_name(f"{path.name}.part")
        try:
            part.write_bytes(self.text.encode())
            shutil.copymode(path, part)
            part.replace(path)
        except OSError as e:
            raise ConfigError(f"{path}: cannot be written: {e.strerror}") from None


def calibrate(request: CalibrationRequest, config: Config, console: Console) -> list[Calibrated]:
    """Calibrates the sets as their files stand, or with the config's changes to features; changes no file.

    Raises ConfigError with every set for which there are too few benign events, and how many are needed.
    """
    if not request.overridden:
        config = config.changed(feature_sets=config.feature_sets.changed(overrides={}))
    config = with_sets(config, request.sets)
    limits = config.events.limits
    rows: list[LabelledRow] = []
    for path in dict.fromkeys(request.benign):
        rows += load_benign(path, request.limit, request.seed, limits, config.events.body_format())
    reader = RowReader(config, console)
    conditions = [s.set.id for s in reader.artefacts.sets if s.set.condition is not None]
    if request.overridden and conditions:
        raise ConfigError(f"--overridden: {conditions[0]} has a condition, and no threshold of its own to override")
    _enough(len(rows), request.target_fpr, [s.set.id for s in reader.artefacts.sets])
    scores = reader.scores(rows, "benign events")
    seen = {set_id: found[~np.isnan(found)] for set_id, found in scores.items()}
    for set_id, found in seen.items():
        _enough(found.size, request.target_fpr, [set_id])
    return [_calibrated(s, split(seen[s.set.id], request.seed), request) for s in reader.artefacts.sets]


def needed_events(target_fpr: float) -> int:
    """The fewest benign events: in each half, one event must be a share of `target_fpr` or less."""
    return 2 * math.ceil(round(1 / target_fpr, 9))


def split(scores: Floats, seed: int) -> Split:
    """Two halves, drawn by `seed`."""
    shuffled = np.random.default_rng(seed).permutation(scores)
    half = (scores.size + 1) // 2
    return Split(shuffled[:half], shuffled[half:])


def changed_values(feature_set: FeatureSet, threshold: float, weights: bool) -> dict[tuple[str | int, ...], float]:
    """What to change in a set so that it fires where its score, as it is now, reaches `threshold`.

    The keys are paths in the file. A set with a score gets a new threshold. With condition `any` or `k_of_n`, the score
    is a ratio to the features' thresholds, so all of these are multiplied. Escalations of a logistic score move with
    the threshold. With `weights`, the threshold stays: a weighted or probe set gets a new bias, and all weights of a
    threshold set with a score are multiplied. Raises ConfigError if the set doesn't have these values, or has them in
    another file.
    """
    if feature_set.condition is not None:
        if weights:
            raise ConfigError(
                f"--weights: {feature_set.id} has condition {feature_set.condition.kind}, without weights"
            )
        return _scaled(feature_set, "threshold", threshold)
    if not weights:
        return {("threshold",): threshold, **_moved_escalations(feature_set, threshold)}
    kept = feature_set.threshold or 0.0
    if feature_set.detector in ("weighted", "probe"):
        if not 0 < kept < 1 or not 0 < threshold < 1:
            raise ConfigError(f"--weights: {feature_set.id}: no bias moves {threshold:.5g} to {kept:.5g}")
        return {("bias",): _short(feature_set.bias + _logit(kept) - _logit(threshold))}
    if feature_set.weights is not None:
        raise ConfigError(
            f"--weights: {feature_set.id}: its weights are in {feature_set.weights.path}, which is not changed; "
            "calibrate without --weights"
        )
    if kept <= 0 or threshold <= 0:
        raise ConfigError(f"--weights: {feature_set.id}: no factor brings {threshold:.5g} to {kept:.5g}")
    return _scaled(feature_set, "weight", kept / threshold)


def _moved_escalations(feature_set: FeatureSet, threshold: float) -> dict[tuple[str | int, ...], float]:
    """Scores that raise the severity, as far from the new threshold as from the old one, in log-odds."""
    scores = (feature_set.threshold or 0.0, threshold, *(e.score for e in feature_set.escalations))
    if feature_set.detector not in ("weighted", "probe") or not all(0 < score < 1 for score in scores):
        return {}
    shift = _logit(threshold) - _logit(scores[0])
    moved = (1 / (1 + math.exp(-_logit(e.score) - shift)) for e in feature_set.escalations)
    return {("escalations", n, "score"): _short(score) for n, score in enumerate(moved)}


def _enough(events: int, target_fpr: float, set_ids: list[str]) -> None:
    needed = needed_events(target_fpr)
    if events < needed:
        raise ConfigError(
            f"{set_id}: a false-positive rate of {target_fpr:.3%} needs at least {needed} benign events with text that "
            f"the set looks at, half to set the threshold and half to measure it; there are {events}"
            for set_id in set_ids
        )


def _calibrated(loaded: LoadedSet, scores: Split, request: CalibrationRequest) -> Calibrated:
    detector = Matcher(loaded.set if request.overridden else loaded.shipped).detector
    threshold = _shortest(threshold_at_fpr(scores.setting, request.target_fpr), scores.setting)
    _reached(loaded.set.id, threshold, scores.setting, request.target_fpr)
    hits = int((scores.measuring >= threshold).sum())
    interval = binomial_interval(hits, scores.measuring.size)
    escalations = _moved_escalations(loaded.shipped, threshold)
    record = {
        "benign": f"{', '.join(path.name for path in request.benign)}; one half, drawn with seed {request.seed}, "
        "sets the threshold, the other measures",
        "n": int(scores.setting.size),
        "target_fpr": request.target_fpr,
        "measured_fpr": round(hits / scores.measuring.size, 6),
        "measured_n": int(scores.measuring.size),
        "interval_95": [round(bound, 6) for bound in interval],
        "date": datetime.now(UTC).date(),
        "unit": detector.scale.unit,
        "activation_basis": loaded.shipped.reader.sae.activation_basis,
    }
    if escalations:
        record["escalation_fpr"] = round(float((scores.measuring >= min(escalations.values())).mean()), 6)
    return Calibrated(
        loaded=loaded,
        unit=detector.scale.unit,
        before=detector.threshold,
        threshold=threshold,
        measured_fpr=hits / scores.measuring.size,
        measured_before=float((scores.measuring >= detector.threshold).mean()),
        measured_n=int(scores.measuring.size),
        interval_95=interval,
        text=edited(loaded, changed_values(loaded.shipped, threshold, request.weights), record),
    )


def _reached(set_id: str, threshold: float, scores: Floats, target_fpr: float) -> None:
    """Raises ConfigError if none of `scores` [event] reaches the threshold: nothing would say where it should be."""
    highest = float(scores.max())
    if highest < threshold:
        raise ConfigError(
            f"{set_id}: the {int((scores == highest).sum())} highest scores of {scores.size} benign events are all "
            f"{highest:g}, so no threshold lets through {target_fpr:.3%} of them; use other benign events, or a higher "
            "target"
        )


def edited(loaded: LoadedSet, values: dict[tuple[str | int, ...], float], record: dict[str, Any]) -> str:
    """The text of the set's file with new values and a new calibration record; everything else stays the same."""
    edit = YamlEdit(str(loaded.path), _text(loaded.path))
    for path, value in values.items():
        edit.set(path, value)
    if loaded.shipped.calibration is None:
        after = "threshold" if loaded.shipped.condition is None else "condition"
        edit.add_mapping("calibration", record, after=after)
    else:
        for key, value in record.items():
            edit.set(("calibration", key), value)
    read_parts(loaded.path, edit.text().encode())  # raises if the file would not load
    return edit.text()


def _scaled(feature_set: FeatureSet, key: str, factor: float) -> dict[tuple[str | int, ...], float]:
    return {
        ("features", n, key): _short(value * factor)
        for n, feature in enumerate(feature_set.features)
        if (value := getattr(feature, key)) is not None
    }


def _shortest(threshold: float, scores: Floats) -> float:
    """The threshold with the fewest digits that still divide `scores` [event] in the same way."""
    above = int((scores >= threshold).sum())
    for digits in range(_DIGITS, 17):
        short = float(f"{threshold:.{digits}g}")
        if int((scores >= short).sum()) == above:
            return short
    return threshold


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS + 1}g}")


def _logit(p: float) -> float:
    return math.log(p) - math.log1p(-p)


def _text(path: Path) -> str:
    return path.read_bytes().decode()
