"""Architectures as config.json describes them, against what transformers makes of the same file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

from monitor.compiler.architectures import Rope, architecture_of
from monitor.compiler.model_weights import read_config
from monitor.errors import ConfigError
from tests.tiny_model import CONFIGS, POSITIONS, WINDOW, edit_config, old_style

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text")
LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}


def saved(folder: Path, name: str) -> dict[str, Any]:
    CONFIGS[name]().save_pretrained(folder)
    return read_config(folder)


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_of_before_and_after_transformers_5_say_the_same(name: str, tmp_path: Path) -> None:
    config = saved(tmp_path, name)
    assert "rope_parameters" in config
    older = old_style(config)
    assert "rope_parameters" not in older
    assert architecture_of(older) == architecture_of(config)


@pytest.mark.parametrize("name", CONFIGS)
def test_transformers_itself_reads_the_older_config_alike(name: str, tmp_path: Path) -> None:
    """Or the test above would compare with a config that nobody ever wrote."""
    edit_config(tmp_path, ["rope_parameters"], **old_style(saved(tmp_path, name)))
    again = transformers.AutoConfig.from_pretrained(tmp_path)
    assert architecture_of(again.to_dict()) == architecture_of(CONFIGS[name]().to_dict())


@pytest.mark.parametrize("family", FAMILIES)
def test_keys_that_are_left_out_mean_what_they_mean_in_transformers(family: str) -> None:
    few = {"hidden_size": 512, "num_hidden_layers": 30, "num_attention_heads": 32}
    full = transformers.AutoConfig.for_model(family, **few).to_dict()
    assert architecture_of({"model_type": family, **few}) == architecture_of(full)


@pytest.mark.parametrize("change", [{"use_sliding_window": True}, {"use_sliding_window": True, "max_window_layers": 1}])
def test_windows_of_qwen_without_layer_types(change: dict[str, Any], tmp_path: Path) -> None:
    config = transformers.Qwen2Config(num_hidden_layers=3, sliding_window=64, **change).to_dict()
    kept = {k: v for k, v in config.items() if k != "layer_types"}
    first = config["max_window_layers"]
    windows = tuple(None if layer < first else 64 for layer in range(3))
    assert architecture_of(kept).windows == architecture_of(config).windows == windows


@pytest.mark.parametrize(
    ("name", "windows"),
    [
        ("llama", (None, None, None)),
        ("mistral", (WINDOW, WINDOW, WINDOW)),
        ("mistral_without_window", (None, None, None)),
        ("qwen2", (None, None, None)),
        ("qwen2_windows", (None, WINDOW, WINDOW)),
        ("gemma2", (WINDOW, None, WINDOW)),
        ("gemma3_text", (WINDOW, None, WINDOW)),
    ],
)
def test_windows(name: str, windows: tuple[int | None, ...], tmp_path: Path) -> None:
    architecture = architecture_of(saved(tmp_path, name))
    assert architecture.windows == windows
    assert architecture.max_positions == POSITIONS


def test_windows_of_gemma3_before_layer_types() -> None:
    config = {"model_type": "gemma3_text", "hidden_size": 64, "num_hidden_layers": 5, "sliding_window": 9}
    assert architecture_of({**config, "sliding_window_pattern": 2}).windows == (9, None, 9, None, 9)
    assert architecture_of(config).windows == (9, 9, 9, 9, 9)


def test_layers_of_a_window_have_a_rotation_of_their_own(tmp_path: Path) -> None:
    architecture = architecture_of(saved(tmp_path, "gemma3_text"))
    assert [rope.name for rope in architecture.ropes] == ["local", "global", "local"]
    local, full = architecture.ropes[:2]
    np.testing.assert_allclose(local.frequencies, 30.0 ** -(np.arange(8) / 8))
    np.testing.assert_allclose(full.frequencies, 500.0 ** -(np.arange(8) / 8) / 3)


@pytest.mark.parametrize("name", ["llama", "llama_llama3", "llama_linear", "qwen3"])
def test_frequencies_equal_transformers(name: str) -> None:
    model = transformers.AutoModel.from_config(CONFIGS[name]())
    (rope,) = set(architecture_of(CONFIGS[name]().to_dict()).ropes)
    np.testing.assert_allclose(rope.frequencies, model.rotary_emb.inv_freq, rtol=1e-6)


def test_llama3_keeps_short_waves_and_stretches_long_ones() -> None:
    plain = np.array(architecture_of(LLAMA | {"head_dim": 64}).ropes[0].frequencies)
    scaled = np.array(
        architecture_of(LLAMA | {"head_dim": 64, "rope_scaling": {"type": "llama3", **LLAMA3}}).ropes[0].frequencies
    )
    ratio = plain / scaled
    assert (ratio[0], ratio[-1]) == (1, pytest.approx(8))
    assert (np.diff(ratio) >= -1e-9).all()
    assert ((ratio > 1.01) & (ratio < 7.99)).any()


def test_tables_are_cosines_and_sines() -> None:
    cos, sin = Rope("global", (1.0, 0.25)).tables(5)
    assert cos.dtype == sin.dtype == np.float32
    assert cos.shape == sin.shape == (5, 2)
    np.testing.assert_allclose(cos[4], np.cos([4, 1]), rtol=1e-6)
    np.testing.assert_allclose(sin[4], np.sin([4, 1]), rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"model_type": "gpt2"},
            r"model_type: 'gpt2' is not built as a graph; llama, mistral, .*",
        ),
        ({"model_type": None}, r"model_type: None is not built"),
        ({"hidden_act": "relu"}, r"hidden_act: 'relu' is not built as a graph; silu, gelu_pytorch_tanh, gelu_new are"),
        ({"mlp_bias": True}, r"mlp_bias: true is not built"),
        ({"model_type": "gemma3_text", "use_bidirectional_attention": True}, r"use_bidirectional_attention: true is n"),
        ({"hidden_size": "32"}, r"hidden_size: expected a positive whole number, got '32'"),
        ({"num_hidden_layers": 0}, r"num_hidden_layers: expected a positive whole number, got 0"),
        ({"num_attention_heads": True}, r"num_attention_heads: expected a positive whole number, got True"),
        ({"layer_types": ["full_attention"]}, r"layer_types: 1 entries for 2 layers \(num_hidden_layers\)$"),
        ({"layer_types": ["full_attention"] * 3}, r"layer_types: 3 entries for 2 layers"),
        (
            {"layer_types": ["full_attention", "chunked_attention"]},
            r"layer_types: 'chunked_attention' is not built as a graph; full_attention and sliding_attention are",
        ),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, r"rope_type: 'yarn' is not built as a graph; default"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, r"partial_rotary_factor: only 1 is built"),
        ({"rope_scaling": {"rope_type": "linear"}}, r"rope_type: linear needs factor"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, r"rope_type: llama3 needs low_freq_factor"),
    ],
)
def test_what_is_not_built_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^a/config\.json: {message}"):
        architecture_of(LLAMA | change, "a/config.json")


def test_the_text_part_of_a_model_of_text_and_images(tmp_path: Path) -> None:
    text = saved(tmp_path, "gemma3_text")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma3", "text_config": text}))
    assert read_config(tmp_path) == text
