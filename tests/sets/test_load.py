"""Feature sets on disk: every problem in every file is listed, and sets must fit together."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from detectors.feature_set import SetOverride
from monitor.errors import ConfigError
from monitor.sets import load as feature_set_files
from monitor.sets.hook_points import hook_points
from monitor.sets.load import LoadedSet, load_feature_sets
from tests.feature_set_factory import set_data, weighted_data, write_set, write_yaml

READER: dict[str, Any] = set_data()["reader"]


def load(folder: Path, **arguments: Any) -> list[LoadedSet]:
    return load_feature_sets([str(folder)], **arguments)


def problems(folder: Path, **arguments: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, **arguments)
    return [p.replace(f"{folder}/", "") for p in caught.value.problems]


def test_a_folder_is_searched_to_the_bottom_and_sorted_by_id(tmp_path: Path) -> None:
    write_set(tmp_path / "a.yaml", id="zeta")
    write_set(tmp_path / "deep" / "er" / "b.yaml", id="alpha")
    (tmp_path / "notes.md").write_text("no set")
    assert [s.set.id for s in load(tmp_path)] == ["alpha", "zeta"]


def test_other_files_of_a_folder_are_not_sets(tmp_path: Path) -> None:
    write_set(tmp_path / "a.yml", id="a")
    (tmp_path / "reader.yaml").write_text("model: one for all sets of the folder\n")
    for hidden in (".git", "..2026_11_30_13_00_00.123"):
        write_set(tmp_path / hidden / "a.yml", id="a")
    write_set(tmp_path / ".draft.yaml", id="a")
    assert [s.path for s in load(tmp_path)] == [tmp_path / "a.yml"]


def test_a_threshold_that_no_score_reaches(tmp_path: Path) -> None:
    write_yaml(tmp_path / "a.yaml", weighted_data(threshold=1.984))
    assert problems(tmp_path) == [
        "a.yaml: threshold: 1.984 is never reached, because scores are 1 at most; use enabled: false"
    ]


def test_a_mounted_config_map(tmp_path: Path) -> None:
    mounted = tmp_path / ".config" / "sets"  # a hidden folder that is asked for is searched
    version = mounted / "..2026_11_30_13_00_00.123"
    write_set(version / "a.yaml", id="a")
    (mounted / "..data").symlink_to(version.name)
    (mounted / "a.yaml").symlink_to("..data/a.yaml")
    assert [s.path for s in load(mounted)] == [mounted / "a.yaml"]


def test_files_folders_and_a_path_given_twice(tmp_path: Path) -> None:
    first, second = write_set(tmp_path / "a.yaml"), write_set(tmp_path / "x" / "b.yaml", id="other")
    found = load_feature_sets([str(second.parent), str(first), str(tmp_path)])
    assert [s.path for s in found] == [second, first]


def test_hash_of_the_file_and_folder_of_the_sae(tmp_path: Path) -> None:
    path = write_set(tmp_path / "sets" / "a.yaml", reader={**READER, "sae": {**READER["sae"], "path": "../sae"}})
    (loaded,) = load(tmp_path)
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert loaded.sae_folder == tmp_path / "sae"
    path.write_bytes(path.read_bytes() + b"# changed\n")
    assert load(tmp_path)[0].sha256 != loaded.sha256


def test_builtin_is_a_folder_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert feature_set_files.builtin_folder() == Path(feature_set_files.__file__).parents[2] / "feature_sets"
    monkeypatch.setattr(feature_set_files, "builtin_folder", lambda: tmp_path)
    write_set(tmp_path / "some-model" / "a.yaml")
    assert load_feature_sets(["builtin:some-model"])[0].set.id == "unsafe-code"


def test_an_unknown_detector_is_named_with_those_that_there_are(tmp_path: Path) -> None:
    write_set(tmp_path / "a.yaml", detector="vibes")
    (problem,) = problems(tmp_path)
    assert problem.startswith("a.yaml: detector: no detector is called 'vibes'; there are threshold, weighted, probe")


def test_every_problem_in_every_file(tmp_path: Path) -> None:
    write_set(tmp_path / "a.yaml", severity="urgent", tresholds=1)
    write_set(tmp_path / "b.yaml", id="fine")
    write_set(tmp_path / "c.yaml", condition={"kind": "k_of_n", "k": 3})
    (tmp_path / "d.yaml").write_text("id: a\nid: b\n")
    (tmp_path / "e.yaml").write_text("- a list\n")
    assert problems(tmp_path, only=["nothing"], overrides={"nothing": SetOverride()}) == [
        "a.yaml: severity: Input should be 'info', 'low', 'medium', 'high' or 'critical'",
        "a.yaml: tresholds: unknown key",
        "c.yaml: set: condition: k = 3 of 2 features can never hold",
        "d.yaml:2: the key 'id' is given twice",
        "e.yaml: expected keys and values at the top",
    ]


def test_nested_faults_have_their_path(tmp_path: Path) -> None:
    features = [{"index": 3, "label": "x", "threshold": "high"}]
    write_set(tmp_path / "a.yaml", features=features, pooling={"kind": "count"})
    assert [p.split(": ")[1] for p in problems(tmp_path)] == ["pooling", "features.0.threshold"]


def test_one_id_in_two_files(tmp_path: Path) -> None:
    write_set(tmp_path / "a.yaml")
    write_set(tmp_path / "b.yaml", version="2.0.0")
    (found,) = problems(tmp_path)
    assert found == "b.yaml: id: unsafe-code is also the id of a.yaml"


def test_all_paths_that_do_not_exist_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError) as caught:
        load_feature_sets([str(tmp_path / "no"), str(tmp_path / "empty"), "builtin:none"])
    assert [p.replace(str(tmp_path), "") for p in caught.value.problems] == [
        "feature_sets.paths: /no: no such file or folder",
        "feature_sets.paths: /empty: no *.yaml or *.yml in this folder",
        "feature_sets.paths: builtin:none: no such file or folder",
    ]


def test_no_sets_at_all(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no set is enabled"):
        load_feature_sets([])
    write_set(tmp_path / "a.yaml")
    assert problems(tmp_path, overrides={"unsafe-code": SetOverride(enabled=False)}) == [
        "feature_sets: no set is enabled: nothing would be detected"
    ]


def test_only_and_overrides(tmp_path: Path) -> None:
    write_set(tmp_path / "a.yaml", id="a")
    write_set(tmp_path / "b.yaml", id="b")
    write_set(tmp_path / "c.yaml", id="c")
    off = SetOverride(enabled=False)
    assert [s.set.id for s in load(tmp_path, only=["c", "a"])] == ["a", "c"]
    assert [s.set.id for s in load(tmp_path, only=["c", "a"], overrides={"a": off})] == ["c"]
    changed = load(tmp_path, overrides={"b": SetOverride(severity="critical")})[1]
    assert (changed.shipped.severity, changed.set.severity) == ("medium", "critical")


def test_unknown_names_are_all_listed_with_those_that_exist(tmp_path: Path) -> None:
    write_set(tmp_path / "a.yaml", id="a")
    write_set(tmp_path / "b.yaml", id="b")
    found = problems(tmp_path, only=["a", "x"], overrides={"y": SetOverride(), "z": SetOverride()})
    assert found == [
        "feature_sets.only: no set x; there are a, b",
        "feature_sets.overrides.y: no such set; there are a, b",
        "feature_sets.overrides.z: no such set; there are a, b",
    ]


def test_every_override_that_fits_nothing(tmp_path: Path) -> None:
    write_set(tmp_path / "a.yaml", id="a")
    write_yaml(tmp_path / "b.yaml", weighted_data(id="b"))
    write_set(tmp_path / "c.yaml", id="c")
    overrides = {
        "a": {"threshold": 0.5},
        "b": {"features": {5: {}}},
        "c": {"features": {3: {"threshold": 0}}},
    }
    found = problems(tmp_path, overrides={n: SetOverride.model_validate(o) for n, o in overrides.items()})
    assert found == [
        "feature_sets.overrides.a: threshold: a has condition any; set features.INDEX.threshold",
        "feature_sets.overrides.b: features: b has no feature 5",
        "feature_sets.overrides.c: features: index 3 needs a threshold above 0",
    ]


def test_sets_for_another_model_are_refused_unless_they_are_off(tmp_path: Path) -> None:
    write_set(tmp_path / "a.yaml", id="a")
    write_set(tmp_path / "b.yaml", id="b", reader={**READER, "model_sha256": "f" * 64})
    (found,) = problems(tmp_path)
    assert found.startswith("b.yaml: reader: is made on ")
    assert "ffffffffffff, but " in found
    assert [s.set.id for s in load(tmp_path, only=["b"])] == ["b"]


@pytest.mark.parametrize(
    "reader",
    [
        {"layer": 10},
        {"max_norm": 100.0},
        {"sae": {**READER["sae"], "sha256": "f" * 64}},
        {"sae": {**READER["sae"], "activation_basis": "decoder_norm_folded"}},
    ],
    ids=lambda r: next(iter(r)),
)
def test_sets_on_one_model_may_differ_in_layer_and_sae(tmp_path: Path, reader: dict[str, Any]) -> None:
    write_set(tmp_path / "a.yaml", id="a")
    write_set(tmp_path / "b.yaml", id="b", reader={**READER, **reader})
    assert len(hook_points(load(tmp_path))) == 2


def test_the_same_sae_in_another_folder_is_no_difference(tmp_path: Path) -> None:
    write_set(tmp_path / "a.yaml", id="a")
    write_set(tmp_path / "b.yaml", id="b", reader={**READER, "sae": {**READER["sae"], "path": "copy/of/sae"}})
    assert len(load(tmp_path)) == 2
