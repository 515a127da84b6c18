"""Family: names and layout of a GGUF architecture in transformers, and the config.json of a file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gguf import dequantize
from numpy.typing import NDArray

from monitor.model.gguf.file import GgufFile

# Tensors of a block, without .weight or .bias: in GGUF, and below model.layers.N in transformers
_BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_TWO_NORMS = {"ffn_norm": "post_attention_layernorm"}
_FOUR_NORMS = {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_QK_NORMS = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}


@dataclass(frozen=True)
class Family:
    """One `general.architecture`."""

    model_type: str
    model_class: str
    norms: Mapping[str, str]
    """Tensors of a block in addition to those that all families have."""
    biases: tuple[str, ...] = ()
    """Tensors of a block that always have a bias."""
    paired_rows: bool = False
    """Rows of queries and keys that rotate together are adjacent here; in transformers they are half a head apart."""
    norm_offset: float = 0.0
    """GGUF adds this to every norm's weight."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Entries of config.json that are not in the metadata."""
    windows: _Windows | None = None


@dataclass(frozen=True)
class _Windows:
    """Layers that attend to a window, and related settings (Gemma 2 and 3).

    What is not in the metadata is taken from llama.cpp's src/llama-model.cpp, which has it in its code.
    """

    pattern: int
    """Every n-th layer attends to everything."""
    default_window: int | None
    softcaps: tuple[float | None, float | None]
    """Of attention scores and of logits, if the file does not say."""
    local_theta: float | None
    """Base of the rotation in layers with a window; None = the same as in the other layers."""
    wide_layers: int
    """Number of layers of the one model size that scales queries by d_model / heads, not by the width of a head."""


_GEMMA = {"hidden_activation": "gelu_pytorch_tanh", "attention_bias": False}
FAMILIES: dict[str, Family] = {
    "llama": Family(
        "llama", "LlamaForCausalLM", _TWO_NORMS, paired_rows=True, config={"hidden_act": "silu", "mlp_bias": False}
    ),
    "qwen2": Family(
        "qwen2",
        "Qwen2ForCausalLM",
        _TWO_NORMS,
        biases=("attn_q", "attn_k", "attn_v"),
        config={"hidden_act": "silu", "use_sliding_window": False},
    ),
    "qwen3": Family(
        "qwen3",
        "Qwen3ForCausalLM",
        _TWO_NORMS | _QK_NORMS,
        config={"hidden_act": "silu", "use_sliding_window": False, "attention_bias": False},
    ),
    "gemma2": Family(
        "gemma2",
        "Gemma2ForCausalLM",
        _FOUR_NORMS,
        norm_offset=1.0,
        config=_GEMMA,
        windows=_Windows(2, 4096, (50.0, 30.0), None, 46),
    ),
    "gemma3": Family(
        "gemma3_text",
        "Gemma3ForCausalLM",
        _FOUR_NORMS | _QK_NORMS,
        norm_offset=1.0,
        config=_GEMMA,
        windows=_Windows(6, None, (None, None), 10_000.0, 62),
    ),
}

_ROPE_FACTORS = "rope_freqs.weight"


def family_of(file: GgufFile) -> Family:
    """The family of the file's architecture. Raises ValueError for one that is not in the table."""
    family = FAMILIES.get(file.architecture)
    if family is None:
        raise ValueError(
            f"general.architecture: {file.architecture!r} is not read from GGUF, only {', '.join(FAMILIES)}; "
            "use the same model in safetensors: its folder or model-hub name as reader.model"
        )
    return family


def tensor_names(file: GgufFile) -> dict[str, str]:
    """Names in transformers, by names in the GGUF. Raises ValueError for a missing or unknown tensor."""
    family = family_of(file)
    ends = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
    if "output.weight" in file.tensors:
        ends["output.weight"] = "lm_head.weight"
    block = {f"{old}.weight": f"{new}.weight" for old, new in (_BLOCK | dict(family.norms)).items()}
    block |= {f"{name}.bias": f"{_BLOCK[name]}.bias" for name in _biases(file)}
    blocks = file.count(f"{file.architecture}.block_count")
    if blocks > len(file.tensors):  # before a name is made for each of them
        raise ValueError(f"{file.architecture}.block_count: {blocks}, but the file has {len(file.tensors)} tensors")
    layers = range(blocks)
    names = ends | {f"blk.{n}.{old}": f"model.layers.{n}.{new}" for n in layers for old, new in block.items()}
    for name in names:
        if name not in file.tensors:
            raise ValueError(f"no tensor {name}, which a {file.architecture} has")
    for name in file.tensors:
        if name not in names and name != _ROPE_FACTORS:
            raise ValueError(f"the tensor {name} has no place in a {file.architecture}")
    return names


def config_of(file: GgufFile) -> dict[str, Any]:
    """The config.json. Raises ValueError if the file lacks something or describes what transformers does not have."""
    family = family_of(file)
    tensor_names(file)
    rows, tokens = file.tensors["token_embd.weight"].shape[0], len(file.array("tokenizer.ggml.tokens"))
    if tokens > rows:
        raise ValueError(f"tokenizer.ggml.tokens: {tokens} for {rows} rows of token_embd.weight")
    name = file.architecture
    d_model, heads = file.count(f"{name}.embedding_length"), file.count(f"{name}.attention.head_count")
    head_dim = file.count(f"{name}.attention.key_length", d_model // max(heads, 1))
    for key in ("attention.value_length", "rope.dimension_count"):
        if (value := file.count(f"{name}.{key}", head_dim)) != head_dim:
            raise ValueError(f"{name}.{key}: {value} differs from the {head_dim} of a key, which is not supported")
    config: dict[str, Any] = {
        "architectures": [family.model_class],
        "model_type": family.model_type,
        "dtype": "float32",
        "vocab_size": rows,
        "hidden_size": d_model,
        "intermediate_size": file.count(f"{name}.feed_forward_length"),
        "num_hidden_layers": file.count(f"{name}.block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": file.count(f"{name}.attention.head_count_kv", heads),
        "head_dim": head_dim,
        "max_position_embeddings": file.count(f"{name}.context_length"),
        "rms_norm_eps": file.number(f"{name}.attention.layer_norm_rms_epsilon"),
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "rope_parameters": _rope(file, head_dim),
        **family.config,
    }
    for key, source in (("bos", "bos"), ("eos", "eos"), ("pad", "padding")):
        found = file.has(f"tokenizer.ggml.{source}_token_id")
        config[f"{key}_token_id"] = file.count(f"tokenizer.ggml.{source}_token_id") if found else None
    if family.model_type == "llama":
        config["attention_bias"] = bool(_biases(file))
    if family.windows is not None:
        config |= _window_config(file, family.windows, config)
    return config


def _biases(file: GgufFile) -> tuple[str, ...]:
    """In a Llama, either all four projections of attention have a bias or none has."""
    family = family_of(file)
    if family.model_type == "llama" and "blk.0.attn_output.bias" in file.tensors:
        return ("attn_q", "attn_k", "attn_v", "attn_output")
    return family.biases


def _window_config(file: GgufFile, windows: _Windows, config: Mapping[str, Any]) -> dict[str, Any]:
    name, layers = file.architecture, int(config["num_hidden_layers"])
    window = file.count(f"{name}.attention.sliding_window", windows.default_window or 0)
    pattern = f"{name}.attention.sliding_window_pattern"
    if not window:
        local = [False] * layers
    elif file.is_array(pattern):
        local = [bool(value) for value in file.array(pattern)]
    else:
        period = file.count(pattern, windows.pattern)
        local = [not period or bool((n + 1) % period) for n in range(layers)]
    if len(local) != layers:
        raise ValueError(f"{pattern}: {len(local)} entries for {layers} layers")
    wide = layers == windows.wide_layers
    added: dict[str, Any] = {
        "sliding_window": window or None,
        "layer_types": ["sliding_attention" if is_local else "full_attention" for is_local in local],
        "query_pre_attn_scalar": config["hidden_size"] // config["num_attention_heads"] if wide else config["head_dim"],
    }
    for kind, default in zip(("attn", "final"), windows.softcaps, strict=True):
        cap = file.number(f"{name}.{kind}_logit_softcapping", default or 0.0)
        added[f"{kind}_logit_softcapping"] = cap or None
    if windows.local_theta is not None:
        theta = file.number(f"{name}.rope.freq_base_swa", windows.local_theta)
        added["rope_parameters"] = {
            "full_attention": config["rope_parameters"],
            "sliding_attention": {"rope_type": "default", "rope_theta": theta},
        }
    return added


def _rope(file: GgufFile, head_dim: int) -> dict[str, Any]:
    """The rotation, as in rope_parameters of transformers."""
    prefix = f"{file.architecture}.rope"
    theta = file.number(f"{prefix}.freq_base", 10_000.0)
    factor = file.number(f"{prefix}.scaling.factor", 0.0) or 1.0
    kind = file.text(f"{prefix}.scaling.type", "linear")
    scaled = kind != "none" and factor != 1.0
    if _ROPE_FACTORS in file.tensors:
        if scaled:
            raise ValueError(f"{prefix}.scaling.factor: not supported together with the tensor {_ROPE_FACTORS}")
        tensor = file.tensors[_ROPE_FACTORS]
        return {"rope_theta": theta, **_llama3(dequantize(tensor.data, tensor.kind).ravel(), theta, head_dim)}
    if not scaled:
        return {"rope_theta": theta, "rope_type": "default"}
    if kind == "linear":
        return {"rope_theta": theta, "rope_type": "linear", "factor": factor}
    if kind == "yarn":
        length = file.count(f"{prefix}.scaling.original_context_length")
        return {"rope_theta": theta, "rope_type": "yarn", "factor": factor, "original_max_position_embeddings": length}
    raise ValueError(f"{prefix}.scaling.type: {kind!r} is not read from GGUF; none, linear and yarn are")


def _llama3(factors: NDArray[np.float32], theta: float, head_dim: int) -> dict[str, Any]:
    """Llama 3.1's scaling. GGUF keeps only its result: the divisor of every frequency, [head_dim / 2].

    The parameters are not in the file. All of Meta's models share them except `factor`, the largest divisor.
    """
    if np.all(factors == 1):
        return {"rope_type": "default"}
    factor, low, high, length = round(float(np.max(factors)), 3), 1.0, 4.0, 8192  # from float32
    turns = length / (2 * math.pi) * theta ** (-np.arange(0, head_dim, 2) / head_dim)
    kept = np.clip((turns - low) / (high - low), 0.0, 1.0)
    expected = 1 / ((1 - kept) / factor + kept)
    if factors.shape != expected.shape or not np.allclose(factors, expected, rtol=1e-4):
        raise ValueError(f"{_ROPE_FACTORS}: not the scaling of Llama 3.1, and no other is known")
    return {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": low,
        "high_freq_factor": high,
        "original_max_position_embeddings": length,
    }
