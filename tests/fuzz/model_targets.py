"""Files of models, SAEs in further formats, and what earlier runs wrote: all of them are read, and may be hostile."""

from __future__ import annotations

import base64
import hashlib
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from monitor.compiler.architectures import architecture_of
from monitor.compiler.model_weights import read_config
from monitor.errors import BadEvent
from monitor.events.event import Origin, Record
from monitor.model.files import ModelFiles, find_model
from monitor.model.gguf.config import config_of
from monitor.model.gguf.file import GgufFile
from monitor.model.gguf.tokenizer import write_texts
from monitor.model.gguf.weights import write_weights
from monitor.sae.sae_format import SAE_FORMATS
from monitor.sets.weights import load_weights
from monitor.sources.dead_letters import DeadLetterSource
from monitor.sources.given import GivenRecords
from monitor.tokens.chat_template import ChatTemplate
from monitor.tokens.tokeniser import EventTokeniser
from tests.fuzz.target import Target, as_json


@cache
def _made(name: str) -> dict[str, bytes]:
    """The files of an SAE in the format `name`, by their path."""
    from tests import sae_files  # imports torch

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        getattr(sae_files, name)(root)
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def _sae(name: str, file: str, beside: Sequence[str] = (), up: int = 0) -> Target:
    """The file `file` of the format `name`; the SAE is the folder `up` levels above, or the file itself."""

    def read(path: Path) -> object:
        return SAE_FORMATS.load(name).load([path, *path.parents][up])

    def good(other: str) -> Callable[[], bytes]:
        return lambda: _made(name)[other]

    return Target(
        f"{name}, {Path(file).suffix}", file, lambda: [_made(name)[file]], read, beside={o: good(o) for o in beside}
    )


@cache
def _gguf() -> bytes:
    from tests.model.gguf.small_gguf import make_package  # imports transformers

    with tempfile.TemporaryDirectory() as folder:
        return make_package(Path(folder) / "package").read_bytes()


def _convert(path: Path) -> None:
    file = GgufFile.open(path)
    config_of(file)
    write_texts(file, path.parent)
    write_weights(file, path.parent / "model.safetensors")


def _set_weights() -> bytes:
    numbers = {"indices": np.arange(3, dtype=np.int32), "weights": np.ones(3, np.float32)}
    return save({**numbers, "direction": np.ones(4, np.float32), "offset": np.zeros(1, np.float32)})


_TEMPLATE = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}{{ bos_token }}"
_TOKENIZER_CONFIG = {
    "chat_template": [{"name": "default", "template": _TEMPLATE}],
    "bos_token": {"content": "<s>"},
    "eos_token": "</s>",
}
_CONFIG = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 260,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
    "tie_word_embeddings": True,
}
_GEMMA = {
    **_CONFIG,
    "model_type": "gemma3_text",
    "hidden_act": "gelu_pytorch_tanh",
    "query_pre_attn_scalar": 8,
    "sliding_window": 16,
    "sliding_window_pattern": 2,
    "attn_logit_softcapping": 50.0,
    "rope_parameters": {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    },
}
_LLAMA_3 = {
    **{key: value for key, value in _CONFIG.items() if key != "rope_parameters"},
    "rope_theta": 5e5,
    "rope_scaling": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
}
_INDEX = {"metadata": {"total_size": 9}, "weight_map": {"model.norm.weight": "model.safetensors"}}
_WORDS = {"version": "1.0", "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "a"}}
_TOKEN = {"id": 2, "content": "<s>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
_TOKENIZER = {**_WORDS, "added_tokens": [{**_TOKEN, "special": True}], "pre_tokenizer": {"type": "Whitespace"}}
_BAD_LINE = {"topic": "t", "partition": 0, "offset": 7, "value_base64": base64.b64encode(b"x").decode()}


def _texts_of_model(path: Path) -> None:
    model = ModelFiles(path.parent, "")
    ChatTemplate(model.chat_template(), model.special_tokens())


def _dead_letters(path: Path) -> None:
    def refuse(_: Record, reason: BadEvent) -> None:
        raise reason

    lines = GivenRecords()
    lines.give([Record(path.read_bytes(), Origin("t", 0, 0))])
    DeadLetterSource(lines, True, refuse).poll()


MODEL_TARGETS: Sequence[Target] = (
    _sae("gemma_scope", "gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_71/params.npz", up=1),
    _sae("openai", "gpt2-small/resid_post_mlp_v5_32k/autoencoders/8.pt"),
    _sae(
        "sparsify",
        "sae-llama-3-8b-32x/layers.12/cfg.json",
        ("sae-llama-3-8b-32x/layers.12/sae.safetensors",),
        up=1,
    ),
    _sae("lm_saes", "L15R/config.json", ("L15R/sae_weights.safetensors",), up=1),
    _sae(
        "llama_scope",
        "Llama3_1-8B-Base-LXR-8x/Llama3_1-8B-Base-L15R-8x/hyperparams.json",
        ("Llama3_1-8B-Base-LXR-8x/Llama3_1-8B-Base-L15R-8x/checkpoints/final.safetensors",),
        up=1,
    ),
    Target("GGUF, converted", "tiny.gguf", lambda: [_gguf()], _convert, (ValueError, OSError)),
    Target(
        "model config",
        "config.json",
        lambda: [as_json(config) for config in (_CONFIG, _GEMMA, _LLAMA_3)],
        lambda p: architecture_of(read_config(p.parent), str(p)),
    ),
    Target(
        "model index",
        "model.safetensors.index.json",
        lambda: [as_json(_INDEX)],
        lambda path: find_model(str(path.parent), None, None),
        beside={"model.safetensors": _set_weights},
    ),
    Target("tokenizer config", "tokenizer_config.json", lambda: [as_json(_TOKENIZER_CONFIG)], _texts_of_model),
    Target(
        "tokenizer",
        "tokenizer.json",
        lambda: [as_json(_TOKENIZER)],
        lambda p: EventTokeniser.load(p, ChatTemplate(None)),
    ),
    Target("chat template", "chat_template.jinja", lambda: [_TEMPLATE.encode()], _texts_of_model),
    Target(
        "weights of a set",
        "weights.safetensors",
        lambda: [_set_weights()],
        lambda path: load_weights(path, hashlib.sha256(path.read_bytes()).hexdigest()),
    ),
    Target("line of bad events", "bad.jsonl", lambda: [as_json(_BAD_LINE)], _dead_letters, (BadEvent,)),
)
