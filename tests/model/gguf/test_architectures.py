"""Every architecture: a random model goes to GGUF, as llama.cpp's converter writes it, and comes back the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from monitor.compiler.architectures import architecture_of
from monitor.compiler.model_weights import ModelWeights, read_config
from monitor.errors import ConfigError
from monitor.model.files import ModelFiles
from monitor.model.gguf import weights as gguf_weights
from monitor.model.gguf.convert import convert
from tests.model.gguf.small_gguf import add_byte_level_tokenizer, finish

LAYERS, D, HEADS, KV_HEADS, VOCABULARY = 4, 64, 4, 2, 260
SHARED: dict[str, Any] = {
    "hidden_size": D,
    "intermediate_size": 96,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 96,
    "rms_norm_eps": 2.0**-10,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}
LLAMA_3 = {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA_3 |= {"original_max_position_embeddings": 8192, "rope_theta": 500_000.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 24, "rope_theta": 10_000.0}
GEMMA_ROPE = {
    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1_000_000.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
}


def theta(base: float) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": base}


MODELS: dict[str, tuple[str, Callable[[], Any]]] = {
    "llama": ("llama", lambda: transformers.LlamaConfig(**SHARED, rope_parameters=theta(50_000.0))),
    "llama-tied": ("llama", lambda: transformers.LlamaConfig(**SHARED, tie_word_embeddings=True)),
    "llama-biased": ("llama", lambda: transformers.LlamaConfig(**SHARED, attention_bias=True)),
    "llama-linear": (
        "llama",
        lambda: transformers.LlamaConfig(
            **SHARED, rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 10_000.0}
        ),
    ),
    "llama-3": ("llama", lambda: transformers.LlamaConfig(**SHARED, head_dim=32, rope_parameters=LLAMA_3)),
    "mistral": ("llama", lambda: transformers.MistralConfig(**SHARED, head_dim=24, sliding_window=None)),
    "qwen2": ("qwen2", lambda: transformers.Qwen2Config(**SHARED, rope_parameters=theta(1_000_000.0))),
    "qwen2-yarn": ("qwen2", lambda: transformers.Qwen2Config(**SHARED, rope_parameters=YARN)),
    "qwen3": ("qwen3", lambda: transformers.Qwen3Config(**SHARED, head_dim=32, tie_word_embeddings=True)),
    "gemma2": (
        "gemma2",
        lambda: transformers.Gemma2Config(
            **SHARED,
            head_dim=32,
            query_pre_attn_scalar=32,
            sliding_window=8,
            attn_logit_softcapping=2.0,
            final_logit_softcapping=3.0,
        ),
    ),
    "gemma3": (
        "gemma3",
        lambda: transformers.Gemma3TextConfig(
            **(SHARED | {"num_hidden_layers": 7}),
            head_dim=32,
            query_pre_attn_scalar=32,
            sliding_window=8,
            rope_parameters=GEMMA_ROPE,
        ),
    ),
}


def random_model(config: Any) -> Any:
    """Weights that survive + 1 - 1 in float32, large enough that every part of the model matters."""
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_((torch.randn_like(parameter) * 0.3 * 1024).round() / 1024)
    return model


def permute(weights: np.ndarray, heads: int) -> np.ndarray:
    """As LlamaModel.permute in llama.cpp's convert_hf_to_gguf.py."""
    halves = weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:])
    return halves.swapaxes(1, 2).reshape(weights.shape)


def write_gguf(path: Path, architecture: str, model: Any, quantised: bool = False) -> Path:
    config = model.config
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if head_dim != config.hidden_size // config.num_attention_heads:
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    if architecture == "llama":
        writer.add_rope_dimension_count(head_dim)
    if architecture.startswith("gemma"):
        writer.add_sliding_window(config.sliding_window)
        if config.attn_logit_softcapping:
            writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
            writer.add_final_logit_softcapping(config.final_logit_softcapping)
    rope = config.rope_parameters
    rope = rope.get("full_attention", rope)
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "llama3":
        scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
        plain = rope["rope_theta"] ** (-torch.arange(0, head_dim, 2) / head_dim)
        writer.add_tensor("rope_freqs.weight", (plain / scaled).numpy().astype(np.float32))
    elif rope["rope_type"] != "default":
        writer.add_rope_scaling_type(gguf.RopeScalingType(rope["rope_type"]))
        writer.add_rope_scaling_factor(rope["factor"])
        if "original_max_position_embeddings" in rope:
            writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    add_byte_level_tokenizer(writer, "gpt-2", VOCABULARY)
    kind = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(kind, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values = tensor.numpy()
        if architecture == "llama" and ".q_proj." in name:
            values = permute(values, config.num_attention_heads)
        if architecture == "llama" and ".k_proj." in name:
            values = permute(values, config.num_key_value_heads)
        if architecture.startswith("gemma") and name.endswith("norm.weight"):
            values = values + 1
        raw = None
        if quantised and values.ndim == 2:
            raw = gguf.GGMLQuantizationType.Q8_0
            values = gguf.quantize(values, raw)
        writer.add_tensor(names.get_name(name, (".weight", ".bias")), values, raw_dtype=raw)
    return finish(writer, path)


@pytest.mark.parametrize("name", MODELS)
def test_the_model_is_the_one_that_was_written(name: str, tmp_path: Path) -> None:
    architecture, config = MODELS[name]
    model = random_model(config())
    convert(write_gguf(tmp_path / "m.gguf", architecture, model), tmp_path / "out")
    back = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", dtype=torch.float32, attn_implementation="eager"
    ).eval()
    expected, found = model.state_dict(), back.state_dict()
    assert expected.keys() == found.keys()
    for key, values in expected.items():
        assert torch.equal(values, found[key]), key
    ids = torch.randint(0, VOCABULARY, (2, 48), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.equal(model(input_ids=ids).logits, back(input_ids=ids).logits)
    same = ("bos_token_id", "eos_token_id", "pad_token_id", "tie_word_embeddings", "max_position_embeddings")
    for key in (*same, "rope_parameters"):
        assert getattr(back.config, key) == getattr(model.config, key)


@pytest.mark.parametrize("name", [name for name in MODELS if "yarn" not in name])
def test_the_graph_builder_reads_the_same(name: str, tmp_path: Path) -> None:
    architecture, config = MODELS[name]
    model = random_model(config())
    convert(write_gguf(tmp_path / "m.gguf", architecture, model), tmp_path / "out")
    model.save_pretrained(tmp_path / "own")
    ours, own = (architecture_of(read_config(tmp_path / folder)) for folder in ("out", "own"))
    assert {**vars(ours), "model_type": ""} == {**vars(own), "model_type": ""}
    weight = "layers.1.self_attn.k_proj.weight"
    assert np.array_equal(ModelWeights(tmp_path / "out").get(weight), ModelWeights(tmp_path / "own").get(weight))


@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_quantised_tensors_in_blocks(architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model(MODELS[architecture][1]())
    path = write_gguf(tmp_path / "m.gguf", architecture, model, quantised=True)
    convert(path, tmp_path / "whole")
    monkeypatch.setattr(gguf_weights, "_BLOCK_VALUES", 7 * D)  # a few rows at a time
    convert(path, tmp_path / "blocks")
    written = (tmp_path / "blocks" / "model.safetensors").read_bytes()
    assert written == (tmp_path / "whole" / "model.safetensors").read_bytes()
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "blocks", dtype=torch.float32)
    for key, values in model.state_dict().items():
        if values.ndim == 2:
            expected = gguf.dequantize(
                gguf.quantize(values.numpy(), gguf.GGMLQuantizationType.Q8_0), gguf.GGMLQuantizationType.Q8_0
            )
            assert np.array_equal(back.state_dict()[key].numpy(), expected), key


def test_the_size_whose_queries_are_scaled_by_width(tmp_path: Path) -> None:
    config = transformers.Gemma3TextConfig(
        **(SHARED | {"num_hidden_layers": 62}), head_dim=32, query_pre_attn_scalar=D // HEADS, sliding_window=8
    )
    convert(write_gguf(tmp_path / "m.gguf", "gemma3", random_model(config)), tmp_path / "out")
    assert read_config(tmp_path / "out")["query_pre_attn_scalar"] == 16


def test_what_gemma_2_means_where_the_file_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("add_attn_logit_softcapping", "add_final_logit_softcapping", "add_sliding_window"):
        monkeypatch.setattr(gguf.GGUFWriter, name, lambda *_: None)
    convert(write_gguf(tmp_path / "m.gguf", "gemma2", random_model(MODELS["gemma2"][1]())), tmp_path / "out")
    config, usual = read_config(tmp_path / "out"), transformers.Gemma2Config()
    for key in ("attn_logit_softcapping", "final_logit_softcapping", "sliding_window"):
        assert config[key] == getattr(usual, key)


def test_transformers_takes_the_tokenizer_as_it_is(tmp_path: Path) -> None:
    """Its own class for Qwen 3 would cut numbers into digits, which this file's tokenizer does not."""
    convert(write_gguf(tmp_path / "m.gguf", "qwen3", random_model(MODELS["qwen3"][1]())), tmp_path / "out")
    expected = Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json")).encode("a 12<|im_end|>")
    assert expected.tokens == ["a", "Ġ", "12", "<|im_end|>"]
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "out")("a 12<|im_end|>")["input_ids"] == expected.ids


class Edited(gguf.GGUFWriter):
    """Renames, adds and leaves out while it writes."""

    edits: dict[str, Any]

    def add_key_value(self, key: str, val: Any, *args: Any, **kwargs: Any) -> None:
        super().add_key_value(key, self.edits.pop(key, val), *args, **kwargs)

    def add_tensor(self, name: str, *args: Any, **kwargs: Any) -> None:
        name = self.edits.pop(name, name)
        if name is not None:
            super().add_tensor(name, *args, **kwargs)


@pytest.mark.parametrize(
    ("name", "edits", "message"),
    [
        ("llama", {"general.architecture": "phi3"}, r"general\.architecture: 'phi3' is not read from GGUF, only "
         r"llama, .*gemma3; use the same model in safetensors: its folder or model-hub name as reader\.model"),
        ("llama", {"blk.1.attn_k.weight": None}, r"no tensor blk\.1\.attn_k\.weight, which a llama has"),
        ("llama", {"blk.1.attn_k.weight": "blk.1.attn_x.weight"}, r"no tensor blk\.1\.attn_k\.weight"),
        ("llama-biased", {"blk.0.attn_output.bias": None}, r"the tensor blk\.0\.attn_q\.bias has no place in a llama"),
        ("llama", {"token_embd.weight": None}, r"no tensor token_embd\.weight, which a llama has"),
        ("llama", {"tokenizer.ggml.tokens": ["a"] * 261}, r"tokenizer\.ggml\.tokens: 261 for 260 rows of token_embd"),
        ("llama", {"llama.rope.dimension_count": 8}, r"llama\.rope\.dimension_count: 8 differs from the 16 of a key"),
        ("qwen2-yarn", {"qwen2.rope.scaling.type": "longrope"}, "'longrope' is not read from GGUF"),
        ("llama-3", {"llama.rope.freq_base": 10_000.0}, r"rope_freqs\.weight: not the scaling of Llama 3\.1"),
    ],
)  # fmt: skip
def test_what_is_not_read(
    name: str, edits: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf, "GGUFWriter", Edited)
    monkeypatch.setattr(Edited, "edits", dict(edits), raising=False)
    architecture, config = MODELS[name]
    path = write_gguf(tmp_path / "m.gguf", architecture, random_model(config()))
    assert not Edited.edits
    with pytest.raises(ConfigError, match=rf"m\.gguf: not converted: .*{message}"):
        convert(path, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["m.gguf"]


def test_a_model_that_is_not_tied_has_its_own_output(tmp_path: Path) -> None:
    for name in ("llama", "llama-tied"):
        model = random_model(MODELS[name][1]())
        convert(write_gguf(tmp_path / f"{name}.gguf", "llama", model), tmp_path / name)
        assert read_config(tmp_path / name)["tie_word_embeddings"] is (name == "llama-tied")
    assert ModelFiles(tmp_path / "llama", "").special_tokens()["bos_token"] == "<|im_start|>"
