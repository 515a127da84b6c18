"""diff-config: what changes in words, and the exit code of diff."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from monitor.cli.app import app
from monitor.errors import ConfigError
from tests.feature_set_factory import summed_data, write_set, write_yaml


def config(path: Path, **feature_sets: Any) -> Path:
    paths = {"paths": [str(path.parent / "sets")]}
    path.write_text(yaml.safe_dump({"feature_sets": {**paths, **feature_sets}}))
    return path


@pytest.fixture
def before(tmp_path: Path) -> Path:
    write_set(tmp_path / "sets" / "any.yaml", id="any")
    write_yaml(tmp_path / "sets" / "sum.yaml", summed_data(id="sum", escalations=[{"score": 2.0, "severity": "high"}]))
    return config(tmp_path / "before.yaml")


def diff(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["diff-config", *map(str, arguments)])


def test_nothing_changes(before: Path) -> None:
    done = diff(before, before)
    assert (done.exit_code, done.output) == (0, "nothing changes\n")
    assert json.loads(diff(before, before, "--json").output) == {"changes": []}


def test_overrides_are_told_by_what_they_do_to_the_sets(before: Path, tmp_path: Path) -> None:
    changed = {"sum": {"threshold": 0.75, "severity": "low", "features": {7: {"enabled": False}, 3: {"weight": 0.25}}}}
    after = config(tmp_path / "after.yaml", overrides={**changed, "any": {"enabled": False}})
    done = diff(before, after)
    assert done.exit_code == 1
    assert done.output.splitlines() == [
        "sets.any: no longer in use (version 1.0.0)",
        "sets.sum.threshold: 0.5 → 0.75",
        "sets.sum.severity: medium → low",
        "sets.sum.escalations: high from 2 → none",
        "sets.sum.features: no longer used: features 7",
        "sets.sum.features: other weight or threshold: features 3",
    ]
    found = json.loads(diff(before, after, "--json").output)["changes"]
    assert found[1] == {
        "key": "sets.sum.threshold",
        "words": "0.5 → 0.75",
        "before": 0.5,
        "after": 0.75,
        "needs_restart": False,
    }
    plain = diff(before, after, "--without-sets")
    assert plain.exit_code == 1
    assert [line.split(":")[0] for line in plain.output.splitlines()] == [
        "feature_sets.overrides.any",
        "feature_sets.overrides.sum",
    ]


def test_other_files_of_a_set(before: Path, tmp_path: Path) -> None:
    reader = {"model": "b", "model_sha256": "a" * 64, "layer": 2, "sae": {"path": "s", "sha256": "d" * 64, "width": 16}}
    write_set(tmp_path / "others" / "any.yaml", id="any", description="Other words.")
    after = config(tmp_path / "after.yaml", paths=[str(tmp_path / "others")])
    lines = diff(before, after).output.splitlines()
    assert "sets.any.version: other files under the same version 1.0.0" in lines
    assert "sets.sum: no longer in use (version 1.0.0)" in lines
    write_set(tmp_path / "others" / "any.yaml", id="any", version="1.1.0", reader=reader)
    lines = diff(before, after).output.splitlines()
    assert "sets.any.version: version 1.0.0 → 1.1.0" in lines
    assert (
        "sets.any.reader: a-model, layer 9, SAE bbbbbbbbbbbb... → b, layer 2, SAE dddddddddddd... (needs a restart)"
        in lines
    )


def test_every_problem_of_both_is_named(before: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("logs: {}\n")
    unknown = config(tmp_path / "unknown.yaml", overrides={"nope": {"enabled": False}})
    done = diff(bad, unknown)
    assert isinstance(done.exception, ConfigError)  # main prints it and exits with 2
    assert done.exception.problems == (
        f"{bad}: logs: unknown key",
        f"{unknown}: feature_sets.overrides.nope: no such set; there are any, sum",
    )
