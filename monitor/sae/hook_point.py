"""HookPoint: the place in a model whose activations an SAE reads, whatever its files call it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

HookKind = Literal["resid_pre", "resid_mid", "resid_post", "attn_out", "attn_z", "mlp_in", "mlp_out", "mlp_hidden"]

_WORDS: dict[HookKind, str] = {
    "resid_pre": "the residual stream before block {}",
    "resid_mid": "the residual stream between attention and MLP of block {}",
    "resid_post": "the residual stream after block {}",
    "attn_out": "the attention output of block {}",
    "attn_z": "the attention heads of block {}, before their output projection",
    "mlp_in": "the MLP input of block {}",
    "mlp_out": "the MLP output of block {}",
    "mlp_hidden": "the hidden layer of the MLP of block {}",
}

# What comes after the block's number, in the names of TransformerLens and in those of a model's own modules
_ENDINGS: dict[str, HookKind] = {
    "hook_resid_pre": "resid_pre",
    "hook_resid_mid": "resid_mid",
    "hook_resid_post": "resid_post",
    "hook_attn_out": "attn_out",
    "attn.hook_z": "attn_z",
    "ln2.hook_normalized": "mlp_in",
    "mlp.hook_in": "mlp_in",
    "hook_mlp_in": "mlp_in",
    "hook_mlp_out": "mlp_out",
    "mlp.hook_post": "mlp_hidden",
    "": "resid_post",
    "input": "resid_pre",
    "output": "resid_post",
    "self_attn": "attn_out",
    "attn": "attn_out",
    "attention": "attn_out",
    "self_attn.o_proj.input": "attn_z",
    "pre_feedforward_layernorm.output": "mlp_in",
    "mlp": "mlp_out",
    "mlp.output": "mlp_out",
    "post_feedforward_layernorm.output": "mlp_out",
}
_NAME = re.compile(r"^(?:.*\.)?(?:blocks|layers|h)\.(\d+)(?:\.(.+))?$")


@dataclass(frozen=True)
class HookPoint:
    """A kind of activation and the block that it belongs to, counted from 0."""

    kind: HookKind
    layer: int

    def __str__(self) -> str:
        return _WORDS[self.kind].format(self.layer)

    @property
    def read_as(self) -> HookPoint:
        """The hook point with the same activations that readers know: before a block is after the one below it."""
        if self.kind == "resid_pre" and self.layer > 0:
            return HookPoint("resid_post", self.layer - 1)
        return self


def hook_point(name: str) -> HookPoint | None:
    """The hook point called `name` by TransformerLens or by the model's own modules; None if the name is unknown."""
    found = _NAME.match(name)
    kind = _ENDINGS.get(found.group(2) or "") if found else None
    return None if found is None or kind is None else HookPoint(kind, int(found.group(1)))
