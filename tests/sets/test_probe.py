"""Probe files: written, read back, and refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from detectors.feature_set import SetOverride
from monitor.errors import ConfigError
from monitor.sets.load import load_feature_sets
from monitor.sets.probe import Probe, load_probe, save_probe, stacked
from tests.feature_set_factory import probe_data, write_set

DIRECTION = np.array([1, -2, 0.5], np.float32)


def test_it_survives_the_disk(tmp_path: Path) -> None:
    sha256 = save_probe(tmp_path / "p.safetensors", DIRECTION, -0.25)
    found = load_probe(tmp_path / "p.safetensors", sha256)
    assert (found.direction.tolist(), found.offset, found.sha256) == ([1, -2, 0.5], -0.25, sha256)


def test_a_set_brings_its_probe(tmp_path: Path) -> None:
    sha256 = save_probe(tmp_path / "p.safetensors", DIRECTION, 0.5)
    write_set(tmp_path / "a.yaml", **probe_data(probe={"path": "p.safetensors", "sha256": sha256}))
    (loaded,) = load_feature_sets([str(tmp_path)], overrides={"unsafe-code": SetOverride(severity="low")})
    assert loaded.probe is not None
    assert loaded.probe.offset == 0.5
    assert loaded.set.severity == "low"


def test_another_probe_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    sha256 = save_probe(path, DIRECTION, 0.5)
    found = save_probe(path, DIRECTION * 2, 0.5)
    write_set(tmp_path / "a.yaml", **probe_data(probe={"path": "p.safetensors", "sha256": sha256}))
    with pytest.raises(ConfigError) as caught:
        load_feature_sets([str(tmp_path)])
    assert caught.value.problems == (f"{path}: sha256 is {found}, but the set names {sha256}",)


@pytest.mark.parametrize(
    ("tensors", "problem"),
    [
        ({"direction": DIRECTION}, "not a probe in safetensors with `direction` and `offset`: 'offset'"),
        (
            {"direction": DIRECTION[None], "offset": np.zeros(1, np.float32)},
            "direction has shape (1, 3) and offset (1,)",
        ),
        ({"direction": DIRECTION, "offset": np.zeros(2, np.float32)}, "direction has shape (3,) and offset (2,)"),
        (
            {"direction": DIRECTION * np.float32("nan"), "offset": np.zeros(1, np.float32)},
            "a number in it is not finite",
        ),
    ],
)
def test_every_rule(tensors: dict[str, Any], problem: str, tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    path.write_bytes(save(tensors))
    with pytest.raises(ConfigError) as caught:
        load_probe(path, hashlib.sha256(path.read_bytes()).hexdigest())
    assert problem in str(caught.value)
    assert str(path) in str(caught.value)


def test_what_is_no_safetensors_or_not_there_or_huge(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_probe(path, "a" * 64)
    path.write_text(json.dumps({"direction": [1.0]}))
    with pytest.raises(ConfigError, match="not a probe in safetensors"):
        load_probe(path, hashlib.sha256(path.read_bytes()).hexdigest())
    path.write_bytes(b"x" * 1_048_577)
    with pytest.raises(ConfigError, match="larger than 1048576 bytes"):
        load_probe(path, "a" * 64)


def test_stacked_directions_are_columns() -> None:
    directions, offsets = stacked([Probe("a", DIRECTION, 1.0), Probe("b", -DIRECTION, 2.0)], 3)
    assert directions.T.tolist() == [[1, -2, 0.5], [-1, 2, -0.5]]
    assert offsets.tolist() == [1.0, 2.0]
    with pytest.raises(ConfigError, match="a probe has 3 numbers, but the residual stream has width 4"):
        stacked([Probe("a", DIRECTION, 1.0)], 4)
