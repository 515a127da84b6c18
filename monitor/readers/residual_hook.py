"""Hook on the output of a transformer block, which is the residual stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from monitor.errors import ConfigError


def hook_residual(block: nn.Module, see: Callable[[Tensor], Tensor | None]) -> None:
    """Calls `see` with the residual stream [row, token, d] after `block`, on every run of the model.

    If `see` returns a tensor, the model goes on with that instead.
    """

    def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        whole = isinstance(output, tuple)
        replaced = see(output[0] if whole else output)
        if replaced is None:
            return None
        return (replaced, *output[1:]) if whole else replaced

    block.register_forward_hook(hook)


def text_blocks(model: Any, count: int) -> nn.ModuleList:
    """The `count` transformer blocks that read text. Raises ConfigError if `model` has no stack of that size."""
    # a model that also reads images may have another stack of the same size
    stacks = [m for m in model.get_decoder().modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    if not stacks:
        raise ConfigError(f"found no stack of {count} transformer blocks in {type(model).__name__}")
    return stacks[0]
