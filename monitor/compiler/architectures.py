"""Architecture: sizes and variants of a decoder-only transformer, from its config.json."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from monitor.errors import ConfigError


@dataclass(frozen=True)
class _Family:
    """How one `model_type` differs from Llama (Touvron et al. 2023)."""

    qkv_bias: bool = False
    qk_norm: bool = False
    """RMSNorm of every query and key head before the rotation (Qwen 3, Gemma 3)."""
    branch_norms: bool = False
    """RMSNorm of the results of attention and MLP before they are added to the residual stream (Gemma 2 and 3)."""
    norm_offset: float = 0.0
    """Added to every norm's weight (Gemma stores weight - 1)."""
    scaled_embeddings: bool = False
    default_activation: str = "silu"
    default_pattern: int = 0
    """Every n-th layer attends to everything, the others to a window; 0 = all layers attend to a window."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Values of keys that a config.json lacks; those of models of text and images lack many."""


# Windows only if the config asks for them, and only from one layer on
_QWEN: dict[str, Any] = {
    "num_key_value_heads": 32,
    "max_position_embeddings": 32_768,
    "use_sliding_window": False,
    "sliding_window": 4_096,
    "max_window_layers": 28,
}
_GEMMA: dict[str, Any] = {
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4_096,
}

# One entry for each architecture, after modeling_*.py and configuration_*.py of the same name in transformers
_FAMILIES: dict[str, _Family] = {
    "llama": _Family(),
    "mistral": _Family(
        defaults={"num_key_value_heads": 8, "max_position_embeddings": 131_072, "sliding_window": 4_096}
    ),
    "qwen2": _Family(qkv_bias=True, defaults=_QWEN),
    "qwen3": _Family(qk_norm=True, defaults={**_QWEN, "head_dim": 128}),
    "gemma2": _Family(
        branch_norms=True,
        norm_offset=1.0,
        scaled_embeddings=True,
        default_activation="gelu_pytorch_tanh",
        default_pattern=2,
        defaults={**_GEMMA, "max_position_embeddings": 8_192, "attn_logit_softcapping": 50.0},
    ),
    "gemma3_text": _Family(
        qk_norm=True,
        branch_norms=True,
        norm_offset=1.0,
        scaled_embeddings=True,
        default_activation="gelu_pytorch_tanh",
        default_pattern=6,
        defaults={
            **_GEMMA,
            "max_position_embeddings": 131_072,
            "rope_theta": 1_000_000.0,
            "rope_local_base_freq": 10_000.0,
        },
    ),
}

_NEEDED = {
    "default": (),
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}
"""Further parameters of a rotation, in the order of `_llama3`."""
_MOST = 1 << 26
"""No model has as many positions, channels or layers."""
_ACTIVATIONS: dict[str, Literal["silu", "gelu_tanh"]] = {
    "silu": "silu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
}


@dataclass(frozen=True)
class Rope:
    """Rotary position embedding (Su et al. 2021) of one layer; `frequencies` [head_dim / 2] in radians per position."""

    name: str
    frequencies: tuple[float, ...]

    def tables(self, positions: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Cosines and sines [position, head_dim / 2]."""
        angles = np.arange(positions)[:, None] * np.array(self.frequencies)
        return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


@dataclass(frozen=True)
class Architecture:
    """Sizes and variants of a model; widths in channels, `windows[layer]` in tokens or None for all."""

    model_type: str
    layers: int
    d_model: int
    heads: int
    kv_heads: int
    head_dim: int
    max_positions: int
    norm_eps: float
    norm_offset: float
    activation: Literal["silu", "gelu_tanh"]
    query_scale: float
    """Factor of the queries, usually 1 / sqrt(head_dim)."""
    embedding_scale: float
    softcap: float | None
    """Attention scores s become cap * tanh(s / cap) (Gemma 2)."""
    qkv_bias: bool
    output_bias: bool
    qk_norm: bool
    branch_norms: bool
    windows: tuple[int | None, ...]
    ropes: tuple[Rope, ...]
    """By layer."""

    @property
    def kv_width(self) -> int:
        """Channels of the keys, or the values, of one token in one layer."""
        return self.kv_heads * self.head_dim


def architecture_of(config: Mapping[str, Any], source: str = "config.json") -> Architecture:
    """The architecture that a transformers config.json describes. Raises ConfigError if no graph can be built of it."""
    model_type = config.get("model_type")
    family = _FAMILIES.get(str(model_type))
    if family is None:
        raise ConfigError(
            f"{source}: model_type: {model_type!r} is not built as a graph; {', '.join(_FAMILIES)} are "
            "(reader.engine: torch reads any transformers causal LM)"
        )
    config = {**family.defaults, **config}
    read = _Config(config, source)
    layers, heads, d_model = (read.count(k) for k in ("num_hidden_layers", "num_attention_heads", "hidden_size"))
    head_dim = read.count("head_dim", d_model // heads)
    name = str(config.get("hidden_activation") or config.get("hidden_act") or family.default_activation)
    if name not in _ACTIVATIONS:
        raise ConfigError(f"{source}: hidden_act: {name!r} is not built as a graph; {', '.join(_ACTIVATIONS)} are")
    for key in ("mlp_bias", "use_bidirectional_attention"):
        if config.get(key):
            raise ConfigError(f"{source}: {key}: true is not built as a graph")
    windows = _windows(config, family, layers, source)
    global_rope, local_rope = _ropes(config, head_dim, source)
    scaled = family.branch_norms and config.get("query_pre_attn_scalar")
    softcap = config.get("attn_logit_softcapping")
    bias = bool(config.get("attention_bias", False))
    return Architecture(
        model_type=str(model_type),
        layers=layers,
        d_model=d_model,
        heads=heads,
        kv_heads=read.count("num_key_value_heads", heads),
        head_dim=head_dim,
        max_positions=read.count("max_position_embeddings", 2048),
        norm_eps=read.number("rms_norm_eps", 1e-6),
        norm_offset=family.norm_offset,
        activation=_ACTIVATIONS[name],
        query_scale=(read.number("query_pre_attn_scalar") if scaled else head_dim) ** -0.5,
        embedding_scale=math.sqrt(d_model) if family.scaled_embeddings else 1.0,
        softcap=read.number("attn_logit_softcapping") if softcap else None,
        qkv_bias=family.qkv_bias or bias,
        output_bias=bias and not family.qkv_bias,
        qk_norm=family.qk_norm,
        branch_norms=family.branch_norms,
        windows=windows,
        ropes=tuple(global_rope if window is None else local_rope for window in windows),
    )


@dataclass(frozen=True)
class _Config:
    values: Mapping[str, Any]
    source: str

    def count(self, key: str, default: int | None = None) -> int:
        value = self.values.get(key)
        value = default if value is None else value
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= _MOST:
            raise ConfigError(f"{self.source}: {key}: expected a positive whole number, got {value!r}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        value = self.values.get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
            raise ConfigError(f"{self.source}: {key}: expected a number above 0, got {value!r}")
        return float(value)


def _windows(config: Mapping[str, Any], family: _Family, layers: int, source: str) -> tuple[int | None, ...]:
    types = config.get("layer_types")
    if types is not None:
        _check_layer_types(types, layers, source)
    if config.get("sliding_window") is None or config.get("use_sliding_window") is False:
        return (None,) * layers
    read = _Config(config, source)
    window = read.count("sliding_window")
    if types is not None:
        return tuple(window if kind == "sliding_attention" else None for kind in types)
    pattern = config.get("sliding_window_pattern", family.default_pattern)
    if pattern:
        pattern = read.count("sliding_window_pattern", pattern)
    first = config.get("max_window_layers", 0)
    if not isinstance(first, int):
        raise ConfigError(f"{source}: max_window_layers: expected a whole number, got {first!r}")
    return tuple(
        None if layer < first or (pattern and (layer + 1) % pattern == 0) else window for layer in range(layers)
    )


def _check_layer_types(types: object, layers: int, source: str) -> None:
    """A list that doesn't fit is no reason to guess: the family's usual pattern may be another model's."""
    if not isinstance(types, list):
        raise ConfigError(f"{source}: layer_types: expected a list, got {types!r}")
    if len(types) != layers:
        raise ConfigError(f"{source}: layer_types: {len(types)} entries for {layers} layers (num_hidden_layers)")
    for kind in types:
        if kind not in ("full_attention", "sliding_attention"):
            raise ConfigError(
                f"{source}: layer_types: {kind!r} is not built as a graph; full_attention and sliding_attention are "
                "(reader.engine: torch reads any transformers causal LM)"
            )


def _ropes(config: Mapping[str, Any], head_dim: int, source: str) -> tuple[Rope, Rope]:
    """The rotations of layers that attend to everything, and of layers that attend to a window."""
    params = config.get("rope_parameters")
    if isinstance(params, Mapping) and "full_attention" in params:  # by kind of layer
        full, local = params["full_attention"], params.get("sliding_attention", params["full_attention"])
        return _rope("global", full, head_dim, source), _rope("local", local, head_dim, source)
    if isinstance(params, Mapping):
        both = _rope("global", {"rope_theta": config.get("rope_theta", 10_000.0), **params}, head_dim, source)
        return both, both
    scaling = config.get("rope_scaling") or {}
    if not isinstance(scaling, Mapping):
        raise ConfigError(f"{source}: rope_scaling: expected an object, got {scaling!r}")
    older = {**scaling, "rope_theta": config.get("rope_theta", 10_000.0)}
    full_rope = _rope("global", older, head_dim, source)
    if "rope_local_base_freq" not in config:
        return full_rope, full_rope
    return full_rope, _rope("local", {"rope_theta": config["rope_local_base_freq"]}, head_dim, source)


def _rope(name: str, params: object, head_dim: int, source: str) -> Rope:
    if not isinstance(params, Mapping):
        raise ConfigError(f"{source}: rope_parameters: expected an object, got {params!r}")
    read = _Config(params, source)
    theta = read.number("rope_theta", 10_000.0)
    if read.number("partial_rotary_factor", 1.0) != 1.0:
        raise ConfigError(f"{source}: partial_rotary_factor: only 1 is built as a graph")
    kind = params.get("rope_type", params.get("type", "default"))
    needed = _NEEDED.get(kind) if isinstance(kind, str) else None
    if needed is None:
        raise ConfigError(f"{source}: rope_type: {kind!r} is not built as a graph; default, linear and llama3 are")
    for key in needed:
        if key not in params:
            raise ConfigError(f"{source}: rope_type: {kind} needs {key}")
    numbers = [read.number(key) for key in needed]
    with np.errstate(all="ignore"):  # the result is checked instead
        frequencies = 1.0 / theta ** (np.arange(0, head_dim, 2) / head_dim)
        if kind == "linear":
            frequencies = frequencies / numbers[0]
        elif kind == "llama3":
            frequencies = _llama3(frequencies, *numbers)
    if not np.isfinite(frequencies).all():
        raise ConfigError(f"{source}: rope_theta: {theta:g} gives no rotation with these settings")
    return Rope(name, tuple(frequencies.tolist()))


def _llama3(
    frequencies: NDArray[np.float64], factor: float, low: float, high: float, positions: float
) -> NDArray[np.float64]:
    """Llama 3.1's scaling: stretches long wavelengths by `factor`, keeps short ones, blends those in between."""
    turns = positions * frequencies / (2 * math.pi)
    kept = np.clip((turns - low) / np.float64(high - low), 0.0, 1.0)
    return (1 - kept) * frequencies / factor + kept * frequencies
