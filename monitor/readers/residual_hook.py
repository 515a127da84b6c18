"""Hook on the output of a transformer block, or on what its attention or its MLP adds to the residual stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from detectors.feature_set import HookName
from monitor.errors import ConfigError

_BRANCHES = {"attn_out": ("self_attn", "attn", "attention"), "mlp_out": ("mlp",)}
# A norm between branch and residual stream is part of what the branch adds
_BRANCH_NORMS = {"attn_out": "post_attention_layernorm", "mlp_out": "post_feedforward_layernorm"}


def hook_residual(block: nn.Module, see: Callable[[Tensor], Tensor | None], hook: HookName = "resid_post") -> None:
    """Calls `see` with the activations [row, token, d] at the hook point of `block`, on every run of the model.

    If `see` returns a tensor, the model goes on with that instead. Raises ConfigError if the block lacks that part.
    """
    module = _module(block, hook)

    def seen(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        whole = isinstance(output, tuple)
        replaced = see(output[0] if whole else output)
        if replaced is None:
            return None
        return (replaced, *output[1:]) if whole else replaced

    module.register_forward_hook(seen)


def _module(block: nn.Module, hook: HookName) -> nn.Module:
    """The module whose output is the hook point."""
    if hook == "resid_post":
        return block
    parts = dict(block.named_children())
    # without a norm after the MLP, post_attention_layernorm comes before the MLP
    if "post_feedforward_layernorm" in parts and _BRANCH_NORMS[hook] in parts:
        return parts[_BRANCH_NORMS[hook]]
    found = next((parts[name] for name in _BRANCHES[hook] if name in parts), None)
    if found is None:
        raise ConfigError(
            f"reader.hook: {hook}: {type(block).__name__} has no part called {' or '.join(_BRANCHES[hook])}, only "
            f"{', '.join(parts)}"
        )
    return found


def text_blocks(model: Any, count: int) -> nn.ModuleList:
    """The `count` transformer blocks that read text. Raises ConfigError if `model` has no stack of that size."""
    # a model that also reads images may have another stack of the same size
    stacks = [m for m in model.get_decoder().modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    if not stacks:
        raise ConfigError(f"found no stack of {count} transformer blocks in {type(model).__name__}")
    return stacks[0]
