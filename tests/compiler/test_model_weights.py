"""ModelWeights: tensors by name from any layout of safetensors files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from monitor.compiler.model_weights import ModelWeights, read_config
from monitor.errors import ConfigError

UP = "layers.0.mlp.up_proj.weight"


def tensors(prefix: str, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    return {f"{prefix}norm.weight": torch.ones(4, dtype=dtype), f"{prefix}{UP}": torch.arange(8.0).to(dtype)}


@pytest.mark.parametrize("prefix", ["model.", "model.language_model.", "language_model.model.", ""])
def test_names_are_below_the_language_model(prefix: str, tmp_path: Path) -> None:
    others = {"vision_tower.norm.weight": torch.zeros(1), "lm_head.weight": torch.zeros(1)}
    save_file({**tensors(prefix), **others}, tmp_path / "model.safetensors")
    weights = ModelWeights(tmp_path)
    assert weights.get(UP).tolist() == list(range(8))
    with pytest.raises(ConfigError, match=rf"no tensor {prefix}layers\.1\.x in its safetensors files$"):
        weights.get("layers.1.x")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_every_float_becomes_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    save_file(tensors("model.", dtype), tmp_path / "model.safetensors")
    values = ModelWeights(tmp_path).get(UP)
    assert values.dtype == np.float32
    assert values.tolist() == list(range(8))


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8])
def test_quantised_weights_are_not_taken_for_numbers(dtype: torch.dtype, tmp_path: Path) -> None:
    save_file(tensors("model.", dtype), tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match=rf"model\.{UP} is u?int8: quantised weights cannot be built"):
        ModelWeights(tmp_path).get(UP)


def test_several_files(tmp_path: Path) -> None:
    for n, (name, tensor) in enumerate(tensors("model.").items()):
        save_file({name: tensor}, tmp_path / f"model-{n}.safetensors")
    assert ModelWeights(tmp_path).get("norm.weight").tolist() == [1] * 4
    assert ModelWeights(tmp_path).get(UP).size == 8


def test_a_file_cut_off_is_named(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file(tensors("model."), file)
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(ConfigError, match=r"model\.safetensors: not readable as safetensors: "):
        ModelWeights(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"), [(None, "cannot be read: No such file"), ("{", "not JSON: "), ("[]", "expected an object")]
)
def test_a_config_that_cannot_be_used(content: str | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(ConfigError, match=rf"config\.json: {message}"):
        read_config(tmp_path)
