"""StepSpeed: how fast training steps run with sae-lens's own forward pass and with the sparse one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from monitor.lab.sae_training.activation_source import ActivationProvenance
from monitor.lab.sae_training.sae_recipe import Arch, SaeRecipe
from monitor.lab.sae_training.training_sae import make_trainer

_ARCHS: tuple[Arch, ...] = ("batchtopk", "topk", "jumprelu", "matryoshka")
_SPARSE = ("batchtopk", "topk")
_RANDOM_TOKENS = ActivationProvenance("", "", 0, "float32", None, {"context": 0}, ())


@dataclass(frozen=True)
class StepSpeed:
    """Tokens per second of CPU time for one kind of SAE; `sparse` is None for kinds without a sparse forward pass."""

    arch: Arch
    autocast: bool
    sae_lens: float
    sparse: float | None

    def line(self) -> str:
        """The figures in words."""
        text = f"{self.arch}, {'bfloat16' if self.autocast else 'float32'}: sae-lens {self.sae_lens:.0f} tokens/s"
        if self.sparse is None:
            return text
        return f"{text}, sparse {self.sparse:.0f}, {self.sparse / self.sae_lens:.1f} times"


def step_speeds(d_model: int, width: int, batch: int, steps: int, threads: int) -> Iterator[StepSpeed]:
    """Measures `steps` steps of each kind of SAE on random tokens, all in this process, after one step of warm-up."""
    torch.set_num_threads(threads)
    tokens = torch.randn(batch, d_model, generator=torch.Generator().manual_seed(0))
    for arch in _ARCHS:
        for autocast in (False, True):
            recipe = SaeRecipe.model_validate(
                {"arch": arch, "width": width, "steps": 1000, "batch": batch, "buffer": 2 * batch, "autocast": autocast}
            )
            sparse = _speed(recipe, tokens, steps, sae_lens=False) if arch in _SPARSE else None
            yield StepSpeed(arch, autocast, _speed(recipe, tokens, steps, sae_lens=True), sparse)


def _speed(recipe: SaeRecipe, tokens: torch.Tensor, steps: int, sae_lens: bool) -> float:
    trainer: Any = make_trainer(recipe, _RANDOM_TOKENS, tokens.shape[1], iter(()), "cpu")
    if sae_lens and recipe.arch in _SPARSE:
        trainer.sae.training_forward_pass = super(type(trainer.sae), trainer.sae).training_forward_pass
    trainer.step(tokens)
    began = time.process_time()
    for _ in range(steps):
        trainer.step(tokens)
    return tokens.shape[0] * steps / (time.process_time() - began)
