"""ModelWeights: tensors by name from any layout of safetensors files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from monitor.compiler.expected_tensors import expected_tensors
from monitor.compiler.model_weights import ModelWeights, read_config
from monitor.errors import ConfigError
from tests.tiny_model import CONFIGS, TinyModel, save_tiny

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
    with pytest.raises(ConfigError, match=rf"model\.{UP} is [IU]8: quantised weights cannot be built"):
        ModelWeights(tmp_path).get(UP)


@pytest.fixture
def llama(tmp_path: Path) -> TinyModel:
    return save_tiny(tmp_path, CONFIGS["llama"]())


def changed(model: TinyModel, change: Callable[[dict[str, torch.Tensor]], None]) -> ModelWeights:
    file = model.folder / "model.safetensors"
    stored = load_file(file)
    change(stored)
    save_file(stored, file)
    return ModelWeights(model.folder)


def check(model: TinyModel, weights: ModelWeights, blocks: int) -> None:
    weights.check(expected_tensors(model.architecture, blocks), blocks)


@pytest.mark.parametrize("name", CONFIGS)
def test_models_as_transformers_saves_them_are_complete(name: str, tmp_path: Path) -> None:
    model = save_tiny(tmp_path, CONFIGS[name]())
    check(model, ModelWeights(tmp_path), 3)
    check(model, ModelWeights(tmp_path), 1)


V = "model.layers.1.self_attn.v_proj"


def test_a_tensor_that_has_no_place_is_not_ignored(llama: TinyModel) -> None:
    """Such as a bias that config.json does not mention."""
    weights = changed(llama, lambda stored: stored.update({f"{V}.bias": torch.ones(16)}))
    with pytest.raises(ConfigError, match=rf"{V}\.bias has no place in the model that config\.json describes; r"):
        check(llama, weights, 2)
    check(llama, weights, 1)  # which does not reach that block


def test_frequencies_that_were_stored_are_ignored(llama: TinyModel) -> None:
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    check(llama, changed(llama, lambda stored: stored.update({name: torch.ones(4)})), 2)


def test_fp8_with_scales_is_refused(llama: TinyModel) -> None:
    def quantise(stored: dict[str, torch.Tensor]) -> None:
        stored[f"{V}.weight"] = stored[f"{V}.weight"].to(torch.float8_e4m3fn)
        stored[f"{V}.weight_scale_inv"] = torch.ones(1, 1)

    weights = changed(llama, quantise)
    with pytest.raises(ConfigError, match=rf"{V}\.weight is F8_E4M3: quantised .* \(and 1 more of its tensors are wr"):
        check(llama, weights, 2)
    with pytest.raises(ConfigError, match="use the model with its weights in 16 bits, or a GGUF of it"):
        weights.get("layers.1.self_attn.v_proj.weight")


def test_missing_tensors_and_other_shapes_are_named_before_any_is_read(llama: TinyModel) -> None:
    weights = changed(llama, lambda stored: stored.update({f"{V}.weight": torch.ones(8, 32)}))
    with pytest.raises(ConfigError, match=rf"{V}\.weight has shape \[8, 32\], but config\.json describes \[16, 32\]"):
        check(llama, weights, 2)
    weights = changed(llama, lambda stored: stored.pop(f"{V}.weight"))  # type: ignore[arg-type, return-value]
    with pytest.raises(ConfigError, match=rf"no tensor {V}\.weight in its safetensors files"):
        check(llama, weights, 2)


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
