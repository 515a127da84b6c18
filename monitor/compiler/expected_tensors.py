"""The tensors that the blocks of an architecture read, so that a model is checked before any work is done."""

from __future__ import annotations

from monitor.compiler.architectures import Architecture

# of one dimension or two; None is any size
Shape = tuple[int | None, ...]


def expected_tensors(a: Architecture, blocks: int) -> dict[str, Shape]:
    """Names inside the language model, such as `layers.0.mlp.up_proj.weight`, and shapes."""
    block = _block(a)
    tensors: dict[str, Shape] = {f"layers.{n}.{name}": shape for n in range(blocks) for name, shape in block.items()}
    return {"embed_tokens.weight": (None, a.d_model), **tensors}


def _block(a: Architecture) -> dict[str, Shape]:
    wide = a.heads * a.head_dim
    norms = ["input_layernorm", "post_attention_layernorm"]
    if a.branch_norms:
        norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
    found: dict[str, Shape] = {f"{name}.weight": (a.d_model,) for name in norms}
    for name, rows in (("q", wide), ("k", a.kv_width), ("v", a.kv_width)):
        found[f"self_attn.{name}_proj.weight"] = (rows, a.d_model)
        if a.qkv_bias:
            found[f"self_attn.{name}_proj.bias"] = (rows,)
    found["self_attn.o_proj.weight"] = (a.d_model, wide)
    if a.output_bias:
        found["self_attn.o_proj.bias"] = (a.d_model,)
    if a.qk_norm:
        found |= {f"self_attn.{name}_norm.weight": (a.head_dim,) for name in "qk"}
    found |= {f"mlp.{name}_proj.weight": (None, a.d_model) for name in ("gate", "up")}
    return {**found, "mlp.down_proj.weight": (a.d_model, None)}
