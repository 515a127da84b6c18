"""Weights files: written, read back, and refused for what is wrong with them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from monitor.errors import ConfigError
from monitor.sets.probe import Probe
from monitor.sets.weights import SetWeights, load_weights, save_weights

INDICES = np.array([7, 3], np.int32)
WEIGHTS = np.array([0.34405, -0.25], np.float32)
DIRECTION = np.array([1, -2, 0.5], np.float32)
OFFSET = np.array([0.5], np.float32)
WHOLE = {"indices": INDICES, "weights": WEIGHTS, "direction": DIRECTION, "offset": OFFSET}
LATENTS = {"indices": INDICES, "weights": WEIGHTS}
NONE = np.zeros(0, np.float32)


@pytest.mark.parametrize("probe", [None, Probe.of(DIRECTION, -0.25)], ids=["latents", "latents and probe"])
def test_they_survive_the_disk(tmp_path: Path, probe: Probe | None) -> None:
    path = tmp_path / "w.safetensors"
    sha256 = save_weights(path, SetWeights(INDICES.astype(np.int64), WEIGHTS, probe))
    found, raw = load_weights(path, sha256)
    assert raw == path.read_bytes()
    assert (found.indices.tolist(), found.weights.tolist()) == ([7, 3], WEIGHTS.tolist())
    if probe is None:
        assert found.probe is None
    else:
        assert found.probe is not None
        assert (found.probe.direction.tolist(), found.probe.offset) == ([1, -2, 0.5], -0.25)
        assert found.probe.sha256 == probe.sha256


def test_a_probe_needs_no_latents(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    sha256 = save_weights(path, SetWeights(np.zeros(0, np.int64), NONE, Probe.of(DIRECTION, 1.0)))
    assert load_weights(path, sha256)[0].indices.size == 0


def test_int64_indices_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(save({**LATENTS, "indices": INDICES.astype(np.int64)}))
    assert load_weights(path, hashlib.sha256(path.read_bytes()).hexdigest())[0].indices.tolist() == [7, 3]


BAD: dict[str, tuple[dict[str, Any], list[str]]] = {
    "nothing": ({}, ["holds neither indices and weights nor direction and offset"]),
    "no_weights": ({"indices": INDICES}, ["weights: missing; indices needs it"]),
    "no_indices": ({"weights": WEIGHTS}, ["indices: missing; weights needs it"]),
    "no_offset": ({**LATENTS, "direction": DIRECTION}, ["offset: missing; direction needs it"]),
    "unknown": ({**LATENTS, "bias": OFFSET}, ["bias: unknown tensor"]),
    "float_indices": (
        {**LATENTS, "indices": INDICES.astype(np.float32)},
        ["indices: dtype is float32; int32 or int64 needed"],
    ),
    "float64_weights": (
        {**LATENTS, "weights": WEIGHTS.astype(np.float64)},
        ["weights: dtype is float64; float32 needed"],
    ),
    "half_weights": ({**LATENTS, "weights": WEIGHTS.astype(np.float16)}, ["weights: dtype is float16; float32 needed"]),
    "wrong_shape": ({**LATENTS, "weights": WEIGHTS[None]}, ["weights: shape is [1, 2]; [feature] needed"]),
    "empty": ({"indices": INDICES[:0], "weights": NONE}, [
        "indices: shape is [0]; [feature] needed", "weights: shape is [0]; [feature] needed",
    ]),
    "fewer_weights": ({**LATENTS, "weights": WEIGHTS[:1]}, ["weights: 1 numbers for 2 indices"]),
    "weights_not_finite": (
        {**LATENTS, "weights": np.array([0.5, np.nan], np.float32)},
        ["weights: a number in it is not finite"],
    ),
    "matrix_direction": ({**WHOLE, "direction": DIRECTION[None]}, ["direction: shape is [1, 3]; [d] needed"]),
    "two_offsets": ({**WHOLE, "offset": np.zeros(2, np.float32)}, ["offset: shape is [2]; [1] needed"]),
    "direction_not_finite": (
        {**WHOLE, "direction": DIRECTION * np.float32("inf")},
        ["direction: a number in it is not finite"],
    ),
    "several": (
        {"indices": INDICES.astype(np.float32), "weights": WEIGHTS[None], "more": OFFSET},
        ["more: unknown tensor", "indices: dtype is float32; int32 or int64 needed",
         "weights: shape is [1, 2]; [feature] needed"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", BAD)
def test_every_fault_is_named_with_its_tensor(fault: str, tmp_path: Path) -> None:
    tensors, problems = BAD[fault]
    path = tmp_path / "w.safetensors"
    path.write_bytes(save(tensors))
    with pytest.raises(ConfigError) as caught:
        load_weights(path, hashlib.sha256(path.read_bytes()).hexdigest())
    assert list(caught.value.problems) == [f"{path}: {problem}" for problem in problems]


def test_a_file_that_is_missing_changed_huge_or_something_else(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(ConfigError, match=rf"^{path}: cannot be read: No such file"):
        load_weights(path, "a" * 64)
    path.write_text(json.dumps({"weights": [1.0]}))
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ConfigError, match=rf"^{path}: not readable as safetensors: "):
        load_weights(path, found)
    with pytest.raises(ConfigError, match=rf"^{path}: sha256 is {found}, but the set names {'a' * 64}$"):
        load_weights(path, "a" * 64)
    with path.open("wb") as file:
        file.truncate(64 * 2**20 + 1)
    with pytest.raises(ConfigError, match="larger than 67108864 bytes"):
        load_weights(path, "a" * 64)
