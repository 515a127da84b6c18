"""How a lab command finds the sets that it works on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from detectors.feature_set import SetOverride
from monitor.config.sections import Config
from monitor.errors import ConfigError
from monitor.lab.data.chosen_sets import own_contrasts, with_sets
from tests.feature_set_factory import make_set, write_set


def config(folder: Path, **overrides: SetOverride) -> Config:
    write_set(folder / "one.yaml", id="one", category="bias")
    write_set(folder / "two.yaml", id="two", category="no_such_contrasts")
    return Config.model_validate({"feature_sets": {"paths": [str(folder)], "overrides": overrides}})


def test_by_id_by_category_and_by_path(tmp_path: Path) -> None:
    other = write_set(tmp_path / "elsewhere" / "three.yaml", id="three")
    given = config(tmp_path / "sets")
    for name, file in {"one": "one.yaml", "no_such_contrasts": "two.yaml", str(other): "three.yaml"}.items():
        chosen = with_sets(given, [name])
        assert [Path(path).name for path in chosen.feature_sets.paths] == [file]


def test_overrides_go_along_and_a_disabled_set_is_looked_at(tmp_path: Path) -> None:
    given = config(tmp_path, one=SetOverride(enabled=False, severity="low"), two=SetOverride(severity="high"))
    chosen = with_sets(given, ["one"]).feature_sets
    assert chosen.overrides == {"one": SetOverride(enabled=True, severity="low")}


def test_rules_and_the_allow_list_of_traffic_stay_behind(tmp_path: Path) -> None:
    rule = {"name": "r", "when": {"topic": "*"}, "sets": {"two": {"enabled": False}}}
    known = {"name": "a", "system_sha256": "a" * 64, "sets": ["two"]}
    given = config(tmp_path)
    given = given.changed(feature_sets=given.feature_sets.changed(rules=[rule], allow=[known]))
    chosen = with_sets(given, ["one"]).feature_sets
    assert (chosen.rules, chosen.allow) == ((), ())


def test_every_unknown_name_is_listed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as e:
        with_sets(config(tmp_path), ["one", "three", "no.yaml"])
    assert len(e.value.problems) == 2
    assert "the sets are one, two" in e.value.problems[0]


@pytest.mark.parametrize(
    "category", ["unsafe_code", "backdoors", "bias", "deception", "sycophancy", "dangerous_advice"]
)
def test_every_shipped_file_of_a_category_is_found(category: str) -> None:
    found = own_contrasts(make_set(category=category))
    assert found == tuple(sorted(found[0].parent.glob(f"{category}*.jsonl"), key=lambda path: path.stem))
    assert len(found) >= 2
    for path in found:
        assert {json.loads(line)["category"] for line in path.read_text().splitlines()} == {category}


def test_own_contrasts_are_numbered_files_of_the_category(tmp_path: Path) -> None:
    for name in ("bias", "bias_10", "bias_2", "bias_languages", "bias_2_old", "bias_", "bias2", "a_bias", "bias.x"):
        (tmp_path / f"{name}.jsonl").touch()
    (tmp_path / "bias_3.txt").touch()
    found = own_contrasts(make_set(category="bias"), tmp_path)
    assert [path.name for path in found] == ["bias.jsonl", "bias_2.jsonl", "bias_10.jsonl"]
    assert own_contrasts(make_set(category="nothing"), tmp_path) == ()
