"""Compares the speed of training steps: sae-lens's own forward pass and ours, on random tokens, in one process.

python -m monitor.lab.sae_training.step_speed [--d-model 576] [--width 10240] [--batch 4096] [--threads 1]
"""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import torch
import typer

from monitor.lab.sae_training.activation_source import ActivationProvenance
from monitor.lab.sae_training.sae_recipe import sae_recipe
from monitor.lab.sae_training.training_sae import make_trainer

_SPARSE = ("batchtopk", "topk")
_NOTHING = ActivationProvenance("", "", 0, "float32", None, {"context": 0}, ())


def main(
    d_model: Annotated[int, typer.Option(help="Width of the residual stream.")] = 576,
    width: Annotated[int, typer.Option(help="Latents.")] = 10_240,
    batch: Annotated[int, typer.Option(help="Tokens of a step.")] = 4096,
    steps: Annotated[int, typer.Option(help="Steps measured, behind one that is not.")] = 3,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
) -> None:
    """Prints tokens per second of CPU time for each kind of SAE, and how much faster the sparse forward pass is."""
    torch.set_num_threads(threads)
    tokens = torch.randn(batch, d_model, generator=torch.Generator().manual_seed(0))
    for arch in ("batchtopk", "topk", "jumprelu", "matryoshka"):
        for autocast in (False, True):
            speeds = [
                _speed(arch, autocast, tokens, width, steps, own)
                for own in ((True, False) if arch in _SPARSE else (True,))
            ]
            line = f"{arch}, {'bfloat16' if autocast else 'float32'}: sae-lens {speeds[0]:.0f} tokens/s"
            sys.stdout.write(
                line + (f", sparse {speeds[1]:.0f}, {speeds[1] / speeds[0]:.1f} times" if speeds[1:] else "") + "\n"
            )
            sys.stdout.flush()


def _speed(arch: str, autocast: bool, tokens: torch.Tensor, width: int, steps: int, own: bool) -> float:
    recipe = sae_recipe(
        arch=arch, width=width, k=32, steps=1000, batch=tokens.shape[0], buffer=0, lr=3e-4, sparsity=1.0,
        autocast=autocast, seed=0,
    )  # fmt: skip
    trainer: Any = make_trainer(recipe, _NOTHING, tokens.shape[1], iter(()), "cpu")
    if own and arch in _SPARSE:
        trainer.sae.training_forward_pass = super(type(trainer.sae), trainer.sae).training_forward_pass
    trainer.step(tokens)
    began = time.process_time()
    for _ in range(steps):
        trainer.step(tokens)
    return tokens.shape[0] * steps / (time.process_time() - began)


if __name__ == "__main__":
    typer.run(main)
