"""SetParts: one feature set, put together from its YAML file and the files next to it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from detectors.feature_set import FeatureSet, ReaderRef, WeightsRef
from detectors.frozen_model import FrozenModel
from detectors.metrics import Metric
from monitor.errors import ConfigError
from monitor.sets.probe import Probe
from monitor.sets.weights import load_weights
from monitor.yaml_file import faults, load_yaml, parse_yaml, read_bytes

READER_FILE = "reader.yaml"
"""The reader of all sets in a folder that do not state one themselves."""
LABELS_FILE = "latents.json"
"""Labels of latents, for all sets in a folder whose weights are in files of their own."""
MAX_NAMED = 64
"""Each named feature has a metric of its own."""

_RENAMED = {
    "across": "it is now called combine_segments: max (once highest) or mean",
    "condition.at_least": "it is now called threshold and is a key of the set itself, without a condition",
    "pooling.over": "it is now called above",
    "metrics.left_out": "it is now called held_out",
}


class Labels(FrozenModel):
    """What LABELS_FILE holds."""

    evidence: str
    """How the labels were found."""
    labels: dict[int, str] = Field(default_factory=dict)


@dataclass(frozen=True)
class SetParts:
    """A set, its probe, and the hash that names this revision of all its files."""

    feature_set: FeatureSet
    probe: Probe | None
    sha256: str
    named: tuple[int, ...]
    """The first features that the YAML file itself lists, MAX_NAMED at most."""


@dataclass(frozen=True)
class _Part:
    """What one of the other files adds to the keys of the YAML file."""

    keys: dict[str, Any] = field(default_factory=dict)
    files: tuple[tuple[str, bytes], ...] = ()
    probe: Probe | None = None


def read_parts(path: Path, raw: bytes) -> SetParts:
    """The set in the YAML file `path`, whose bytes are `raw`. Raises ConfigError with file, key and rule."""
    data = parse_yaml(path, raw)
    listed = data.get("features")
    files: list[tuple[str, bytes]] = [(path.name, raw)]
    probe: Probe | None = None
    problems: list[str] = []
    broken: set[str] = set()
    """Keys that are missing because of a problem that is already reported."""
    if data.pop("probe", None) is not None:
        problems.append(f"{path}: probe: unknown key; a probe is now part of the file that `weights` names")
        broken.add("probe")
    readers: dict[str, Callable[[Path, Mapping[str, Any]], _Part]] = {
        "reader": _reader,
        "features": _weights,
        "metrics": _metrics,
    }
    for key, read in readers.items():
        try:
            part = read(path, data)
        except ConfigError as e:
            problems += e.problems
            broken.add(key)
            continue
        data |= part.keys
        files += part.files
        probe = probe or part.probe
    try:
        feature_set = FeatureSet.model_validate(data)
    except ValidationError as e:
        lines = faults(path, e, "set", _RENAMED)
        keys = [fault["loc"][:1] for fault in e.errors(include_url=False)]
        problems += [
            line for line, key in zip(lines, keys, strict=True) if not broken or (key and key[0] not in broken)
        ]
    if problems:
        raise ConfigError(problems)
    named = tuple(feature["index"] for feature in (listed or ())[:MAX_NAMED])
    return SetParts(feature_set, probe, _sha256(files), named)


def _reader(path: Path, data: Mapping[str, Any]) -> _Part:
    file = path.with_name(READER_FILE)
    if "reader" in data:
        return _Part()
    if not file.is_file():
        raise ConfigError(f"{path}: reader: missing; write it here, or for all sets of the folder in {file}")
    found, raw = load_yaml(file)
    try:
        ReaderRef.model_validate(found)
    except ValidationError as e:
        raise ConfigError(faults(file, e, "reader")) from None
    return _Part({"reader": found}, ((READER_FILE, raw),))


def _weights(path: Path, data: Mapping[str, Any]) -> _Part:
    if "weights" not in data:
        return _Part()
    try:
        ref = WeightsRef.model_validate(data["weights"])
    except ValidationError:
        return _Part()  # validation of FeatureSet reports what is wrong
    file = path.parent / ref.path
    weights, raw = load_weights(file, ref.sha256)
    files = [(ref.path, raw)]
    keys: dict[str, Any] = {} if weights.probe is None else {"probe": weights.probe.sha256}
    if weights.indices.size:
        labels, labels_raw = _labels(path.with_name(LABELS_FILE))
        files += [] if labels_raw is None else [(LABELS_FILE, labels_raw)]
        named = _named(path, ref.path, data.get("features", []), set(weights.indices.tolist()))
        keys["features"] = [
            # the decimal number that was fitted, not the nearest float32, because alerts show it
            {"label": labels.get(index, f"latent {index}"), **named.get(index, {}), "index": index, "weight": weight}
            for index, weight in zip(weights.indices.tolist(), map(float, weights.weights.astype(str)), strict=True)
        ]
    return _Part(keys, tuple(files), weights.probe)


def _named(path: Path, file: str, features: object, known: set[int]) -> dict[int, dict[str, Any]]:
    """The features that the YAML file names, by index; all others come with the weights."""
    if not isinstance(features, list) or not all(
        isinstance(f, dict) and isinstance(f.get("index"), int) for f in features
    ):
        raise ConfigError(f"{path}: features: must be a list of items with index and label; the weights are in {file}")
    problems = []
    named: dict[int, dict[str, Any]] = {}
    for n, feature in enumerate(features):
        index = feature["index"]
        problems += [
            f"{path}: features.{n}.{key}: only index, label and evidence belong here; the weights are in {file}"
            for key in feature
            if key not in ("index", "label", "evidence")
        ]
        if index not in known:
            problems.append(f"{path}: features.{n}.index: {index} has no weight in {file}")
        if index in named:
            problems.append(f"{path}: features.{n}.index: {index} is listed twice")
        named[index] = feature
    if problems:
        raise ConfigError(problems)
    return named


def _labels(file: Path) -> tuple[dict[int, str], bytes | None]:
    if not file.is_file():
        return {}, None
    data, raw = _json(file)
    try:
        return Labels.model_validate(data).labels, raw
    except ValidationError as e:
        raise ConfigError(faults(file, e, "labels")) from None


def _metrics(path: Path, data: Mapping[str, Any]) -> _Part:
    file = path.with_name(f"{path.stem}.metrics.json")
    if not file.is_file():
        return _Part()
    if "metrics" in data:
        raise ConfigError(f"{path}: metrics: they are in {file.name}, too; keep one of the two")
    found, raw = _json(file)
    problems = []
    for name, metric in found.items():
        try:
            Metric.model_validate(metric)
        except ValidationError as e:
            problems += faults(f"{file}: {name}", e, "metric", {"left_out": _RENAMED["metrics.left_out"]})
    if problems:
        raise ConfigError(problems)
    return _Part({"metrics": found}, ((file.name, raw),))


def _json(file: Path) -> tuple[dict[str, Any], bytes]:
    raw = read_bytes(file)
    try:
        data = json.loads(raw, object_pairs_hook=_no_key_twice)
    except ValueError as e:  # also of bytes that are not UTF-8
        raise ConfigError(f"{file}: not JSON: {e}") from None
    except RecursionError:
        raise ConfigError(f"{file}: nested too deeply") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{file}: expected keys and values at the top")
    return data, raw


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        twice = next(key for n, (key, _) in enumerate(pairs) if key in dict(pairs[:n]))
        raise ValueError(f"the key {twice!r} is given twice")
    return data


def _sha256(files: Iterable[tuple[str, bytes]]) -> str:
    """Of the file if there is only one; else of the list of them, as `sha256sum` prints it."""
    hashes = [(hashlib.sha256(raw).hexdigest(), name) for name, raw in files]
    if len(hashes) == 1:
        return hashes[0][0]
    return hashlib.sha256("".join(f"{sha256}  {name}\n" for sha256, name in hashes).encode()).hexdigest()
