"""Trains an SAE with sae-lens on an ActivationSource, with checkpoints that a run can continue from."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from monitor.lab.sae_training.activation_source import ActivationSource
from monitor.lab.sae_training.sae_recipe import SaeRecipe
from monitor.lab.sae_training.shuffle import endless_batches
from monitor.lab.sae_training.training_run import TrainingRun
from monitor.lab.sae_training.training_sae import fit_to_data, load_checkpoint, make_trainer, save_sae, settle_threshold

log = logging.getLogger(__name__)

_NOTE_EVERY = 10


@dataclass(frozen=True)
class TrainOptions:
    """Options that don't change the result, except how numbers are saved."""

    device: str = "cpu"
    checkpoint_every: int = 200
    """In steps."""
    precision: Literal["float32", "float16"] = "float32"
    """Precision of the saved SAE."""
    resume: bool = False


def train(
    run: TrainingRun,
    recipe: SaeRecipe,
    source: ActivationSource,
    options: TrainOptions,
    on_step: Callable[[int, dict[str, Any]], None] = lambda _step, _metrics: None,
) -> Path:
    """Runs all steps, saves the SAE in SAELens layout and returns its folder.

    The loop is our own, for checkpoints, metrics and progress; each step is sae-lens's `SAETrainer.step`. A run that
    continues from a checkpoint gets the same batches as one that was never stopped. Raises ConfigError as
    TrainingRun.begin and endless_batches do.
    """
    checkpoint = run.begin({"sae": recipe.model_dump(mode="json"), "data": asdict(source.provenance)}, options.resume)

    def batches(skip: int = 0) -> Iterator[Tensor]:
        return endless_batches(source, recipe.batch, recipe.buffer, recipe.seed, skip)

    trainer = make_trainer(recipe, source.provenance, source.d_model, batches(), options.device)
    if checkpoint is not None:
        load_checkpoint(trainer, checkpoint)
        log.info("continuing from %s", checkpoint)
    else:
        factor = fit_to_data(trainer, batches())
        log.info("inputs are multiplied by %.6g in training", factor)
    data = batches(trainer.n_training_steps)
    first, began = trainer.n_training_steps, time.monotonic()
    while trainer.n_training_steps < recipe.total_steps:
        output = trainer.step(next(data))
        trainer.n_training_steps += 1
        step = trainer.n_training_steps
        metrics: dict[str, Any] = {}
        if step % _NOTE_EVERY == 0 or step == recipe.total_steps:
            found = trainer.build_train_step_log_dict(output, trainer.n_training_samples)
            metrics = {"step": step} | {name.replace("/", "."): value for name, value in found.items()}
            run.note(metrics)
        if step % options.checkpoint_every == 0 and step < recipe.total_steps:
            run.checkpoint(step, lambda folder: _save(trainer, folder))
        on_step(step, metrics)
    if checkpoint is None or not checkpoint.name.endswith(f"{recipe.total_steps:07d}"):
        run.checkpoint(recipe.total_steps, lambda folder: _save(trainer, folder))
    taken = (trainer.n_training_steps - first) * recipe.batch
    log.info("trained on %d tokens at %.0f tokens/s", taken, taken / max(time.monotonic() - began, 1e-9))
    settle_threshold(trainer, batches())
    save_sae(trainer, run.sae, options.precision)
    log.info("saved %s", run.sae)
    return run.sae


def _save(trainer: Any, folder: Path) -> None:
    trainer.sae.save_model(folder)
    with torch.no_grad():
        trainer.save_trainer_state(folder)
