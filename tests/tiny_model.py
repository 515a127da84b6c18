"""Tiny random transformers models, and compiled graphs of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor

from detectors.feature_set import HookName
from monitor.compiler.architectures import Architecture, architecture_of
from monitor.compiler.graph import Graph
from monitor.compiler.linear import Precision
from monitor.compiler.model_graph import add_blocks
from monitor.compiler.model_weights import ModelWeights, read_config
from monitor.compiler.rotation import rotation
from monitor.readers.onnx.columns import OutputColumns
from monitor.readers.onnx.graph import GraphShape
from monitor.readers.onnx.reader import OnnxReader
from monitor.readers.onnx.sparse import ACTIVATIONS, RESIDUAL
from monitor.readers.onnx.step import Heads

VOCABULARY = 100
POSITIONS = 320
_BASE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": POSITIONS,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_WIDE = {**_BASE, "head_dim": 16}  # heads wider together than the residual stream
_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
_LINEAR = {"rope_type": "linear", "rope_theta": 500.0, "factor": 3.0}
_KINDS = ["sliding_attention", "full_attention", "sliding_attention"]
WINDOW = 11

CONFIGS: dict[str, Callable[[], Any]] = {
    "llama": lambda: transformers.LlamaConfig(**_BASE),
    "llama_without_groups": lambda: transformers.LlamaConfig(**{**_BASE, "num_key_value_heads": 4}),
    "llama_bias": lambda: transformers.LlamaConfig(**_WIDE, attention_bias=True),
    "llama_llama3": lambda: transformers.LlamaConfig(**_WIDE, rope_parameters=dict(_LLAMA3)),
    "llama_linear": lambda: transformers.LlamaConfig(**_BASE, rope_parameters=dict(_LINEAR)),
    "mistral": lambda: transformers.MistralConfig(**_WIDE, sliding_window=WINDOW),
    "mistral_without_window": lambda: transformers.MistralConfig(**_BASE, sliding_window=None),
    "qwen2": lambda: transformers.Qwen2Config(**_BASE),
    "qwen2_windows": lambda: transformers.Qwen2Config(
        **_BASE, use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1
    ),
    "qwen3": lambda: transformers.Qwen3Config(**_WIDE),
    "qwen3_bias": lambda: transformers.Qwen3Config(**_WIDE, attention_bias=True),
    "gemma2": lambda: transformers.Gemma2Config(
        **_WIDE, sliding_window=WINDOW, query_pre_attn_scalar=20, attn_logit_softcapping=2.0
    ),
    "gemma3_text": lambda: transformers.Gemma3TextConfig(
        **_WIDE,
        sliding_window=WINDOW,
        query_pre_attn_scalar=20,
        layer_types=_KINDS,
        rope_parameters={
            "full_attention": dict(_LINEAR),
            "sliding_attention": {"rope_type": "default", "rope_theta": 30.0},
        },
    ),
}


@dataclass(frozen=True)
class TinyModel:
    """A model in `folder`, and the whole of it as transformers has it."""

    folder: Path
    whole: Any

    @cached_property
    def architecture(self) -> Architecture:
        return architecture_of(read_config(self.folder))

    @property
    def rotates(self) -> bool:
        """Whether the residual stream can be turned."""
        return not self.architecture.branch_norms

    def hidden(self, tokens: NDArray[np.int32], layer: int) -> NDArray[np.float32]:
        """The residual stream [token, d_model] behind block `layer`, by transformers."""
        kept: list[Tensor] = []
        decoder = self.whole.get_decoder()
        # output_hidden_states would norm the last one
        hook = decoder.layers[layer].register_forward_hook(
            lambda _module, _inputs, output: kept.append(output[0] if isinstance(output, tuple) else output)
        )
        with torch.inference_mode():
            decoder(input_ids=torch.from_numpy(tokens.astype(np.int64))[None], use_cache=False)
        hook.remove()
        found: NDArray[np.float32] = kept[0][0].numpy()
        return found

    def embeddings(self, turn: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """[vocabulary, d_model] as the graph takes them."""
        scale = np.float32(self.architecture.embedding_scale)
        table: NDArray[np.float32] = ModelWeights(self.folder).get("embed_tokens.weight") * scale
        return table if turn is None else table @ turn

    def residual_reader(
        self,
        out: Path,
        blocks: int,
        *,
        precision: Precision = "fp32",
        rotated: bool = False,
        hook: HookName = "resid_post",
        **options: Any,
    ) -> TurnedReader:
        """A reader whose activations are the residual stream itself, or what a branch of the last block adds to it."""
        a = self.architecture
        turn = rotation(a.d_model) if rotated else None
        with Graph(out) as graph:
            residual = add_blocks(graph, ModelWeights(self.folder), a, blocks, precision, turn, POSITIONS, hook)
            graph.output(residual, ACTIVATIONS, "float32", ["token", a.d_model])
            graph.output(residual, RESIDUAL, "float32", ["token", a.d_model])
            graph.save()
        columns = OutputColumns({}, a.d_model)
        reader = OnnxReader(out, self.shape(blocks), self.embeddings(turn), columns, threads=1, **options)
        return TurnedReader(reader, turn)

    def shape(self, blocks: int) -> GraphShape:
        """What the reader has to know of a graph of the first `blocks` blocks."""
        a = self.architecture
        windows = tuple(sorted({w for w in a.windows[:blocks] if w is not None}))
        return GraphShape(
            layers=blocks,
            heads=Heads(a.heads, a.kv_heads, windows),
            head_dim=a.head_dim,
            max_tokens=POSITIONS,
        )


@dataclass(frozen=True)
class TurnedReader:
    """A reader of a residual stream that is perhaps rotated."""

    reader: OnnxReader
    turn: NDArray[np.float32] | None

    def back(self, residual: NDArray[np.float32]) -> NDArray[np.float32]:
        """The residual stream as the model has it."""
        return residual if self.turn is None else residual @ self.turn.T


def save_tiny(folder: Path, config: Any, seed: int = 0) -> TinyModel:
    """A random model of that config, whose weights are large enough for attention to be far from even."""
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=source)
            if "norm" in name:
                weight.copy_(weight + 0.3 * noise)
            elif weight.ndim == 1:
                weight.copy_(0.5 * noise)
            else:
                weight.copy_(noise * (1.0 if "embed" in name else 1.5 * weight.shape[1] ** -0.5))
    model.save_pretrained(folder)
    return TinyModel(folder, model)


def edit_config(folder: Path, remove: Sequence[str] = (), **changes: Any) -> dict[str, Any]:
    """Rewrites keys of config.json and returns all of it."""
    path = folder / "config.json"
    config: dict[str, Any] = {k: v for k, v in json.loads(path.read_text()).items() if k not in remove} | changes
    path.write_text(json.dumps(config))
    return config


def old_style(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same config with the keys that transformers wrote before 5.0: rope_theta, rope_scaling and the like."""
    older = dict(config)
    params = older.pop("rope_parameters")
    if "full_attention" in params:
        older["rope_local_base_freq"] = params["sliding_attention"]["rope_theta"]
        params = params["full_attention"]
    scaling = {k: v for k, v in params.items() if k != "rope_theta"}
    return older | {
        "rope_theta": params["rope_theta"],
        "rope_scaling": None if params["rope_type"] == "default" else scaling,
    }


def texts(*sizes: int, seed: int = 4) -> list[NDArray[np.int32]]:
    """Random texts of these many tokens."""
    source = np.random.default_rng(seed)
    return [source.integers(3, VOCABULARY, size).astype(np.int32) for size in sizes]


def relative(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """The largest error of a token, as a share of the length of the longest one."""
    assert found.shape == expected.shape
    return float(np.linalg.norm(found - expected, axis=1).max() / np.linalg.norm(expected, axis=1).max())
