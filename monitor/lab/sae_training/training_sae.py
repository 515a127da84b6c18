"""Builds sae-lens's SAE and trainer for a recipe, and saves the inference SAE."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor

from monitor.errors import ConfigError, Permanent
from monitor.lab.sae_training.activation_source import ActivationProvenance
from monitor.lab.sae_training.sae_recipe import SaeRecipe
from monitor.lab.sae_training.sparse_step import SparseBatchTopKTrainingSAE, SparseTopKTrainingSAE
from monitor.sae.formats.saelens import WEIGHTS_FILE

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # sae-lens imports a module that transformer-lens renamed
    from sae_lens import saes
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.saes.sae import SAEMetadata
    from sae_lens.training.sae_trainer import SAETrainer

_THRESHOLD_BATCHES = 16
_CLASSES: dict[str, tuple[Any, Any]] = {
    "batchtopk": (SparseBatchTopKTrainingSAE, saes.BatchTopKTrainingSAEConfig),
    "topk": (SparseTopKTrainingSAE, saes.TopKTrainingSAEConfig),
    "jumprelu": (saes.JumpReLUTrainingSAE, saes.JumpReLUTrainingSAEConfig),
    "matryoshka": (saes.MatryoshkaBatchTopKTrainingSAE, saes.MatryoshkaBatchTopKTrainingSAEConfig),
}


def make_trainer(
    recipe: SaeRecipe, provenance: ActivationProvenance, d_model: int, batches: Iterator[Tensor], device: str
) -> Any:
    """sae-lens's SAETrainer with a new training SAE of width `recipe.width` over `d_model` dimensions.

    Inputs are scaled to a mean norm of sqrt(d) (normalize_activations = expected_average_only_in, Anthropic's April
    2024 update); `save_sae` folds the factor into the weights.
    """
    make, make_config = _CLASSES[recipe.arch]
    config = make_config(
        d_in=d_model,
        d_sae=recipe.width,
        device=device,
        normalize_activations="expected_average_only_in",
        metadata=SAEMetadata(**_metadata(provenance, recipe)),
        **_own_fields(recipe),
    )
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        sae = make(config)
    return SAETrainer(
        SAETrainerConfig(
            total_training_samples=recipe.total_steps * recipe.batch,
            train_batch_size_samples=recipe.batch,
            lr=recipe.lr,
            lr_end=recipe.lr / 10,  # unused by the constant schedule, which decays to 0
            lr_scheduler_name="constant",
            lr_warm_up_steps=recipe.warm_up_steps,
            lr_decay_steps=recipe.decay_steps,
            device=device,
            autocast=recipe.autocast,
            dead_feature_window=recipe.dead_after_steps,
            logger=LoggingConfig(log_to_wandb=False),
        ),
        sae,
        batches,
    )


@torch.no_grad()
def fit_to_data(trainer: Any, batches: Iterator[Tensor], count: int = 32) -> float:
    """Fits a new trainer's input scale and b_dec to `count` batches [token, d], and returns the scale.

    The scale is sqrt(d) over the mean norm, as in sae-lens's ActivationScaler. b_dec starts at the mean of the scaled
    tokens (Bricken et al. 2023 start at the median); from 0, Adam would need thousands of steps to get there.
    """
    tokens = torch.cat(list(islice(batches, count)))
    factor = math.sqrt(tokens.shape[1]) / float(tokens.norm(dim=1).mean())
    trainer.activation_scaler.scaling_factor = factor
    trainer.sae.b_dec.copy_(tokens.mean(dim=0) * factor)
    return factor


@torch.no_grad()
def settle_threshold(trainer: Any, batches: Iterator[Tensor]) -> None:
    """Sets the inference threshold of a BatchTopK SAE to the mean, over batches, of the smallest active activation.

    sae-lens's running mean converges to the same value (Bussmann et al. 2024, eq. 7), but lags behind the weights.
    """
    sae = trainer.sae
    if not hasattr(sae, "topk_threshold"):
        return
    smallest = []
    for batch in islice(batches, _THRESHOLD_BATCHES):
        acts = sae.encode(trainer.activation_scaler(batch.to(sae.device)))  # [token, s]
        smallest.append(acts[acts > 0].min().double())
    sae.topk_threshold.copy_(torch.stack(smallest).mean())


def save_sae(trainer: Any, folder: Path, precision: Literal["float32", "float16"]) -> None:
    """Writes the inference SAE for raw residuals in SAELens layout. The trainer can't be used afterwards.

    BatchTopK and Matryoshka SAEs are saved as JumpReLU with one threshold, as sae-lens does.
    Raises Permanent if a weight is not finite in `precision`.
    """
    sae = trainer.sae
    factor = trainer.activation_scaler.scaling_factor
    sae.fold_activation_norm_scaling_factor(factor)
    weights, config = sae.save_inference_model(folder)
    tensors = {name: t.astype(precision) for name, t in load_file(weights).items()}
    if wrong := [name for name, t in tensors.items() if not np.isfinite(t).all()]:
        raise Permanent(f"{folder / WEIGHTS_FILE}: {wrong[0]} is not finite in {precision}")
    save_file(tensors, weights)
    weights.chmod(0o644)  # safetensors lets only the owner read, but a sidecar runs as another user
    cfg = json.loads(config.read_text())
    config.write_text(json.dumps(cfg | {"dtype": precision, "device": "cpu"}, indent=1) + "\n")


def _own_fields(recipe: SaeRecipe) -> dict[str, Any]:
    if recipe.arch == "jumprelu":
        return {
            "jumprelu_sparsity_loss_mode": "quadratic",
            "target_l0": float(recipe.k),
            "l0_coefficient": recipe.sparsity,
            "l0_warm_up_steps": recipe.total_steps // 5,
        }
    if recipe.arch == "matryoshka":
        return {"k": recipe.k, "matryoshka_widths": list(recipe.nested_widths)}
    return {"k": recipe.k}


def _metadata(provenance: ActivationProvenance, recipe: SaeRecipe) -> dict[str, Any]:
    return {
        "model_name": provenance.model,
        "model_sha256": provenance.model_sha256,
        "hook_name": f"blocks.{provenance.layer}.hook_resid_post",
        "hook_head_index": None,
        "context_size": provenance.text["context"],
        "prepend_bos": False,
        "exclude_special_tokens": True,
        "max_norm": provenance.max_norm,
        "dataset_path": ", ".join(source.split(" ")[0] for source in provenance.sources),
        "training_tokens": recipe.total_steps * recipe.batch,
    }


def load_checkpoint(trainer: Any, folder: Path) -> None:
    """Restores trainer and SAE from `folder`. Raises ConfigError if it can't be read."""
    try:
        trainer.sae.load_weights_from_checkpoint(folder)
        trainer.load_trainer_state(folder)
    except (OSError, KeyError, RuntimeError, ValueError) as e:
        raise ConfigError(f"{folder}: not a checkpoint of this run: {e}") from None
