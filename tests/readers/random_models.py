"""Configs of tiny models for the torch reader, one for each architecture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import transformers

LAYERS = 4
D = 32
ROPE: dict[str, Any] = {
    "hidden_size": D,
    "intermediate_size": 64,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "vocab_size": 100,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
GROUPED = {**ROPE, "num_key_value_heads": 2}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
GEMMA = {**GROUPED, "head_dim": 8, "sliding_window": 8}
CONFIGS: dict[str, Callable[[], Any]] = {
    "gpt2": lambda: transformers.GPT2Config(
        n_embd=D, n_layer=LAYERS, n_head=4, vocab_size=100, n_positions=64, bos_token_id=1, eos_token_id=2
    ),
    "gpt_neox": lambda: transformers.GPTNeoXConfig(**ROPE),
    "llama": lambda: transformers.LlamaConfig(**GROUPED),
    "qwen2": lambda: transformers.Qwen2Config(**GROUPED),
    "gemma2": lambda: transformers.Gemma2Config(**GEMMA, query_pre_attn_scalar=8),
    "gemma3": lambda: transformers.Gemma3TextConfig(**GEMMA, query_pre_attn_scalar=8),
    "mistral": lambda: transformers.MistralConfig(**GROUPED, sliding_window=8),
    "qwen3": lambda: transformers.Qwen3Config(**GROUPED, head_dim=8),
    "mixtral": lambda: transformers.MixtralConfig(**GROUPED, **EXPERTS),
    "gpt_oss": lambda: transformers.GptOssConfig(**GEMMA, **EXPERTS),
    "llama4": lambda: transformers.Llama4TextConfig(
        **GROUPED, **EXPERTS, head_dim=8, intermediate_size_mlp=64, attention_chunk_size=16
    ),
    "phi": lambda: transformers.PhiConfig(**ROPE),
    "phi3": lambda: transformers.Phi3Config(**GROUPED, sliding_window=8),
    "falcon": lambda: transformers.FalconConfig(**ROPE, new_decoder_architecture=True, num_kv_heads=2),
    "olmo2": lambda: transformers.Olmo2Config(**GROUPED),
    "granite": lambda: transformers.GraniteConfig(**GROUPED),
}
# These keep no past, or one of their own, so that shared prefixes are read again with every text
RECURRENT: dict[str, Callable[[], Any]] = {
    "rwkv": lambda: transformers.RwkvConfig(
        hidden_size=D, attention_hidden_size=D, intermediate_size=64, num_hidden_layers=LAYERS, vocab_size=100
    ),
    "mamba": lambda: transformers.MambaConfig(
        hidden_size=D, num_hidden_layers=LAYERS, vocab_size=100, state_size=4, pad_token_id=0
    ),
    "recurrent_gemma": lambda: transformers.RecurrentGemmaConfig(
        **{**ROPE, "num_key_value_heads": 1}, head_dim=8, lru_width=D, attention_window_size=16
    ),
    "qwen3_next": lambda: transformers.Qwen3NextConfig(
        **GROUPED,
        head_dim=8,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
    ),
}
