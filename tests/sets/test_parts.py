"""A set and the files next to it: put together, named by one hash, and refused for what is wrong in each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from detectors.feature_set import SetOverride
from detectors.metrics import MetricsSummary
from monitor.errors import ConfigError
from monitor.sets.load import LoadedSet, load_feature_set, load_feature_sets
from monitor.sets.probe import Probe
from monitor.sets.weights import SetWeights, save_weights
from tests.feature_set_factory import set_data, weighted_data, write_yaml

DIRECTION = np.array([1, -2, 0.5], np.float32)
METRIC = {"auroc": 0.75, "n_positive": 9, "n_negative": 9, "held_out": True}
LABELS = {"evidence": "looked at", "labels": {"7": 'tokens "eval"', "5": 'tokens "os"', "15": "never used"}}
NAMED = [{"index": 3, "label": "shell injection", "evidence": "read by a person"}]


class Folder:
    """A set whose reader, weights, metrics and labels are in files of their own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.set = path / "a.yaml"
        self.data = weighted_data(features=NAMED)
        write_yaml(path / "reader.yaml", self.data.pop("reader"))
        (path / "latents.json").write_text(json.dumps(LABELS))
        (path / "a.metrics.json").write_text(json.dumps({"one": METRIC}))
        self.weigh([7, 3, 5, 9], [0.34405, 0.5, -0.25, -1.5])

    def weigh(self, indices: list[int], weights: list[float], probe: Probe | None = None) -> None:
        """Other weights, named by the set."""
        made = SetWeights(np.array(indices, np.int64), np.array(weights, np.float32), probe)
        sha256 = save_weights(self.path / "a.safetensors", made)
        self.change(weights={"path": "a.safetensors", "sha256": sha256})

    def change(self, **changes: Any) -> None:
        """Other keys in the YAML file; None takes one out."""
        self.data = {key: value for key, value in (self.data | changes).items() if value is not None}
        write_yaml(self.set, self.data)

    def load(self) -> LoadedSet:
        return load_feature_set(self.set)

    def problems(self) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            self.load()
        return [problem.replace(f"{self.path}/", "") for problem in caught.value.problems]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_a_set_is_put_together_from_its_files(folder: Folder) -> None:
    used = folder.load().set
    assert used.reader.model == "a-model"
    assert [(f.index, f.label, f.weight, f.evidence) for f in used.features] == [
        (7, 'tokens "eval"', 0.34405, ""),
        (3, "shell injection", 0.5, "read by a person"),
        (5, 'tokens "os"', -0.25, ""),
        (9, "latent 9", -1.5, ""),
    ], "in the order of the file, with the decimal numbers that were fitted"
    assert used.metrics["one"].auroc == 0.75
    assert used.probe is None
    assert folder.load().named == (3,)  # the other features came with the weights


def test_both_ways_to_write_a_set_are_the_same_set(folder: Folder) -> None:
    used = folder.load().set
    inline = used.model_copy(update={"weights": None}).model_dump(mode="json", exclude={"weights", "probe"})
    path = write_yaml(folder.path / "elsewhere" / "b.yaml", inline)
    assert load_feature_set(path).set == used.model_copy(update={"weights": None})


def test_a_probe_comes_with_the_weights(folder: Folder) -> None:
    folder.change(detector="probe")
    folder.weigh([3], [0.5], Probe.of(DIRECTION, -0.25))
    (loaded,) = load_feature_sets([str(folder.path)], overrides={"unsafe-code": SetOverride(severity="low")})
    assert loaded.probe is not None
    assert (loaded.probe.direction.tolist(), loaded.probe.offset) == (DIRECTION.tolist(), -0.25)
    assert loaded.set.columns() == (3, loaded.probe.sha256)
    assert loaded.set.severity == "low"


def test_a_probe_may_go_with_weights_in_the_yaml_file(folder: Folder) -> None:
    folder.change(detector="probe", features=[{"index": 3, "label": "x", "weight": 0.5}])
    folder.weigh([], [], Probe.of(DIRECTION, 0.0))
    assert folder.load().set.features[0].weight == 0.5


def test_a_reader_of_its_own_comes_before_that_of_the_folder(folder: Folder) -> None:
    folder.change(reader={**set_data()["reader"], "model": "another"})
    assert folder.load().set.reader.model == "another"


def test_labels_and_metrics_are_optional(folder: Folder) -> None:
    (folder.path / "latents.json").unlink()
    (folder.path / "a.metrics.json").unlink()
    used = folder.load().set
    assert [f.label for f in used.features] == ["latent 7", "shell injection", "latent 5", "latent 9"]
    assert used.metrics == {}


def test_the_hash_is_that_of_the_list_of_files(folder: Folder) -> None:
    names = ["a.yaml", "reader.yaml", "a.safetensors", "latents.json", "a.metrics.json"]
    hashes = [hashlib.sha256((folder.path / name).read_bytes()).hexdigest() for name in names]
    listed = "".join(f"{sha256}  {name}\n" for sha256, name in zip(hashes, names, strict=True))
    assert folder.load().sha256 == hashlib.sha256(listed.encode()).hexdigest()


@pytest.mark.parametrize("name", ["a.yaml", "reader.yaml", "latents.json", "a.metrics.json"])
def test_the_hash_covers_every_file(folder: Folder, name: str) -> None:
    before = folder.load().sha256
    path = folder.path / name
    path.write_text(path.read_text() + "\n")
    assert folder.load().sha256 != before


def test_the_hash_covers_the_weights(folder: Folder) -> None:
    before = folder.load().sha256
    folder.weigh([7, 3, 5, 9], [0.34405, 0.5, -0.25, -1.25])
    assert folder.load().sha256 != before


def changed(weights: Path) -> None:
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(raw)


BAD: dict[str, tuple[Mapping[str, Any], str]] = {
    "weight_in_both": (
        {"features": [{"index": 3, "label": "x", "weight": 1.0}]},
        "a.yaml: features.0.weight: only index, label and evidence belong here; the weights are in a.safetensors",
    ),
    "named_without_weight": (
        {"features": [*NAMED, {"index": 4, "label": "x"}]},
        "a.yaml: features.1.index: 4 has no weight in a.safetensors",
    ),
    "named_twice": ({"features": NAMED * 2}, "a.yaml: features.1.index: 3 is listed twice"),
    "features_without_index": (
        {"features": [{"label": "x"}]},
        "a.yaml: features: must be a list of items with index and label; the weights are in a.safetensors",
    ),
    "empty_label": ({"features": [{"index": 7, "label": ""}]}, "a.yaml: features.0.label: String should have at least"),
    "metrics_in_both": ({"metrics": {"one": METRIC}}, "a.yaml: metrics: they are in a.metrics.json, too; keep one"),
    "probe_as_before": (
        {"probe": {"path": "a.probe.safetensors", "sha256": "a" * 64}},
        "a.yaml: probe: unknown key; a probe is now part of the file that `weights` names",
    ),
    "weights_without_hash": ({"weights": {"path": "a.safetensors"}}, "a.yaml: weights.sha256: Field required"),
    "probe_that_is_not_there": ({"detector": "probe"}, "a.yaml: set: detector: a probe detector needs a probe in"),
    "summary_without_its_metrics": (
        {"summary": dict.fromkeys(MetricsSummary.model_fields)},
        "a.yaml: set: summary: differs from the metrics; it should be: auroc_by_others: [0.75, 0.75]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", BAD)
def test_faults_of_the_yaml_file(folder: Folder, fault: str) -> None:
    changes, problem = BAD[fault]
    folder.change(**changes)
    found = folder.problems()
    assert len([p for p in found if p.startswith(problem)]) == 1, found
    if fault != "weights_without_hash":  # without weights, the feature that is named has none
        assert len(found) == 1, found


FILES: dict[str, tuple[str, str | None, str]] = {
    "no_reader": (
        "reader.yaml", None,
        "a.yaml: reader: missing; write it here, or for all sets of the folder in reader.yaml",
    ),
    "no_weights": ("a.safetensors", None, "a.safetensors: cannot be read: No such file or directory"),
    "reader_with_unknown_key": ("reader.yaml", "modell: x\n", "reader.yaml: modell: unknown key"),
    "reader_not_yaml": ("reader.yaml", "a: [\n", "reader.yaml:2: "),
    "metrics_not_json": ("a.metrics.json", "{", "a.metrics.json: not JSON: "),
    "metrics_in_a_list": ("a.metrics.json", "[]", "a.metrics.json: expected keys and values at the top"),
    "metrics_twice": ("a.metrics.json", '{"a": {}, "a": {}}', "a.metrics.json: not JSON: the key 'a' is given twice"),
    "metrics_not_finite": (
        "a.metrics.json", json.dumps({"one": METRIC | {"auroc": float("nan")}}),
        "a.metrics.json: one: auroc: Input should be a finite number",
    ),
    "metrics_as_before": (
        "a.metrics.json", json.dumps({"one": METRIC | {"left_out": True}}),
        "a.metrics.json: one: left_out: unknown key; it is now called held_out",
    ),
    "labels_without_index": (
        "latents.json", json.dumps({"evidence": "", "labels": {"x": "y"}}), "latents.json: labels.x",
    ),
    "labels_unknown_key": ("latents.json", json.dumps({**LABELS, "more": 1}), "latents.json: more: unknown key"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FILES)
def test_faults_of_the_other_files(folder: Folder, fault: str) -> None:
    name, text, problem = FILES[fault]
    path = folder.path / name
    path.unlink() if text is None else path.write_text(text)
    found = folder.problems()
    assert any(p.startswith(problem) for p in found), found
    assert all(p.startswith((name, "a.yaml: reader: missing")) for p in found), "nothing else is wrong"


def test_weights_that_changed_are_refused(folder: Folder) -> None:
    changed(folder.path / "a.safetensors")
    (problem,) = folder.problems()
    assert problem.startswith("a.safetensors: sha256 is ")
    assert problem.endswith(f"but the set names {folder.data['weights']['sha256']}")


def test_an_index_outside_the_sae_is_refused(folder: Folder) -> None:
    folder.weigh([3, 16], [0.5, 0.5])
    assert folder.problems() == ["a.yaml: set: features: index 16 is outside the SAE's width 16"]


def test_an_index_twice_in_the_weights_is_refused(folder: Folder) -> None:
    folder.weigh([3, 3], [0.5, 0.5])
    assert folder.problems() == ["a.yaml: set: features: index 3 is listed twice"]


def test_problems_of_all_files_are_told_at_once(folder: Folder) -> None:
    folder.change(severity="urgent")
    (folder.path / "reader.yaml").write_text("a: 1\na: 2\n")
    (folder.path / "a.metrics.json").write_text("x")
    changed(folder.path / "a.safetensors")
    found = folder.problems()
    assert [p.split(": ")[0] for p in found] == ["reader.yaml:2", "a.safetensors", "a.metrics.json", "a.yaml"]
    assert found[-1].startswith("a.yaml: severity: ")


def test_a_set_in_the_old_form_says_what_each_key_is_called_now(tmp_path: Path) -> None:
    data = weighted_data(
        across="highest",
        condition={"kind": "score", "at_least": 0.5},
        pooling={"kind": "max", "over": 1.0},
        metrics={"one": {**METRIC, "left_out": True}},
    )
    path = tmp_path / "a.yaml"
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(ConfigError) as caught:
        load_feature_set(path)
    found = "\n".join(caught.value.problems)
    assert f"{path}: across: unknown key; it is now called combine_segments: max (once highest) or mean" in found
    assert "condition.at_least: unknown key; it is now called threshold and is a key of the set itself" in found
    assert "pooling.over: unknown key; it is now called above" in found
    assert "metrics.one.left_out: unknown key; it is now called held_out" in found
