"""Hook: what it sees of a block, and what the model goes on with."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from monitor.errors import ConfigError
from monitor.readers.residual_hook import hook_residual, text_blocks


class Block(nn.Module):
    """Doubles; some models' blocks put out a tuple with more in it."""

    def __init__(self, whole: bool) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, x: Tensor) -> Any:
        return (2 * x, "weights") if self.whole else 2 * x


@pytest.mark.parametrize("whole", [False, True])
def test_the_residual_is_seen_and_may_be_replaced(whole: bool) -> None:
    seen: list[Tensor] = []
    watched, replaced = Block(whole), Block(whole)
    hook_residual(watched, seen.append)
    hook_residual(replaced, lambda residual: residual + 1)
    x = torch.ones(1, 2, 3)
    assert_same(watched(x), 2 * x, whole)
    assert_same(replaced(x), 2 * x + 1, whole)
    assert torch.equal(seen[0], 2 * x)


def assert_same(output: Any, residual: Tensor, whole: bool) -> None:
    if whole:
        assert output[1] == "weights"
    assert torch.equal(output[0] if whole else output, residual)


def test_a_model_without_a_stack_of_that_size() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([Block(False), Block(False)])

        def get_decoder(self) -> nn.Module:
            return self

    model = Model()
    assert text_blocks(model, 2) is model.blocks
    with pytest.raises(ConfigError, match=r"^found no stack of 3 transformer blocks in Model$"):
        text_blocks(model, 3)
