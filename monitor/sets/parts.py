"""SetParts: one feature set, put together from its YAML file and the files next to it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from detectors.feature_set import FeatureSet, ReaderRef, WeightsRef
from detectors.metrics import Metric
from monitor.errors import ConfigError
from monitor.sets.json_file import load_json
from monitor.sets.labels import LABELS_FILE, Labels, load_labels
from monitor.sets.probe import Probe
from monitor.sets.weights import load_weights
from monitor.yaml_file import faults, load_yaml, parse_yaml

READER_FILE = "reader.yaml"
"""The reader of all sets in a folder that do not state one themselves."""
MAX_LISTED = 64
"""Each feature that the YAML file lists has a metric of its own."""

_RENAMED = {
    "across": "it is now called combine_segments: max (once highest) or mean",
    "condition.at_least": "it is now called threshold and is a key of the set itself, without a condition",
    "pooling.over": "it is now called above",
    "metrics.left_out": "it is now called held_out",
}


@dataclass(frozen=True)
class SetParts:
    """A set, its probe, and the hash that names this revision of all its files."""

    feature_set: FeatureSet
    probe: Probe | None
    sha256: str
    listed: tuple[int, ...]
    """The first features that the YAML file itself lists, MAX_LISTED at most."""


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
        "features": _features,
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
    first = tuple(feature["index"] for feature in (listed or ())[:MAX_LISTED])
    return SetParts(feature_set, probe, _sha256(files), first)


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


def _features(path: Path, data: Mapping[str, Any]) -> _Part:
    """The features with their weights, and with the labels that the folder has for them."""
    reader = data.get("reader")
    labels, labels_raw = load_labels(path.with_name(LABELS_FILE))
    if labels.sae_sha256 is not None and isinstance(reader, dict):
        sae = reader.get("sae")
        used = sae.get("sha256") if isinstance(sae, dict) else None
        if used != labels.sae_sha256:
            raise ConfigError(
                f"{path.with_name(LABELS_FILE)}: sae_sha256: {labels.sae_sha256} is not the SAE of {path.name}, which "
                "names another; an index means nothing there"
            )
    labels_files = () if labels_raw is None else ((LABELS_FILE, labels_raw),)
    if "weights" not in data:
        return _inline(data, labels, labels_files)
    try:
        ref = WeightsRef.model_validate(data["weights"])
    except ValidationError:
        return _Part()  # validation of FeatureSet reports what is wrong
    weights, raw = load_weights(path.parent / ref.path, ref.sha256)
    keys: dict[str, Any] = {} if weights.probe is None else {"probe": weights.probe.sha256}
    if not weights.indices.size:
        inline = _inline(data, labels, labels_files)
        return _Part({**keys, **inline.keys}, ((ref.path, raw), *inline.files), weights.probe)
    named = _named(path, ref.path, data.get("features", []), set(weights.indices.tolist()))
    keys["features"] = [
        # the decimal number that was fitted, not the nearest float32, because alerts show it
        {"label": f"latent {index}", **_labelled(named.get(index, {}), index, labels), "index": index, "weight": weight}
        for index, weight in zip(weights.indices.tolist(), map(float, weights.weights.astype(str)), strict=True)
    ]
    return _Part(keys, ((ref.path, raw), *labels_files), weights.probe)


def _inline(data: Mapping[str, Any], labels: Labels, labels_files: tuple[tuple[str, bytes], ...]) -> _Part:
    """The features of the YAML file, with their names; the labels are part of the set only if it uses one."""
    features = data.get("features")
    if not isinstance(features, list) or not any(
        isinstance(f, dict) and isinstance(f.get("index"), int) and f["index"] in labels.names for f in features
    ):
        return _Part()
    named = [
        _labelled(f, f["index"], labels) if isinstance(f, dict) and isinstance(f.get("index"), int) else f
        for f in features
    ]
    return _Part({"features": named}, labels_files)


def _labelled(feature: Mapping[str, Any], index: int, labels: Labels) -> dict[str, Any]:
    """The keys of a feature. A name comes before the set's own label, and that before a list of tokens."""
    found = labels.of(index)
    return {**feature, **found} if index in labels.names else {**found, **feature}


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
            f"{path}: features.{n}.{key}: only index, label, label_score and evidence belong here; the weights "
            f"are in {file}"
            for key in feature
            if key not in ("index", "label", "label_score", "evidence")
        ]
        if index not in known:
            problems.append(f"{path}: features.{n}.index: {index} has no weight in {file}")
        if index in named:
            problems.append(f"{path}: features.{n}.index: {index} is listed twice")
        named[index] = feature
    if problems:
        raise ConfigError(problems)
    return named


def _metrics(path: Path, data: Mapping[str, Any]) -> _Part:
    file = path.with_name(f"{path.stem}.metrics.json")
    if not file.is_file():
        return _Part()
    if "metrics" in data:
        raise ConfigError(f"{path}: metrics: they are in {file.name}, too; keep one of the two")
    found, raw = load_json(file)
    problems = []
    for name, metric in found.items():
        try:
            Metric.model_validate(metric)
        except ValidationError as e:
            problems += faults(f"{file}: {name}", e, "metric", {"left_out": _RENAMED["metrics.left_out"]})
    if problems:
        raise ConfigError(problems)
    return _Part({"metrics": found}, ((file.name, raw),))


def _sha256(files: Iterable[tuple[str, bytes]]) -> str:
    """Of the file if there is only one; else of the list of them, as `sha256sum` prints it."""
    hashes = [(hashlib.sha256(raw).hexdigest(), name) for name, raw in files]
    if len(hashes) == 1:
        return hashes[0][0]
    return hashlib.sha256("".join(f"{sha256}  {name}\n" for sha256, name in hashes).encode()).hexdigest()
