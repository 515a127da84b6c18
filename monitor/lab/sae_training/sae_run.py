"""Trains an SAE on a store or a stream of texts, and measures the saved SAE on held-out tokens."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from monitor.errors import ConfigError
from monitor.lab.sae_training.activation_source import (
    ActivationProvenance,
    ActivationSource,
    StoredActivations,
    StreamedActivations,
)
from monitor.lab.sae_training.activation_store import ActivationStore
from monitor.lab.sae_training.packed_reader import PackedReader
from monitor.lab.sae_training.packing import PackedRow
from monitor.lab.sae_training.row_stream import RowStream, Split, TextOptions
from monitor.lab.sae_training.sae_figures import SaeFigures, WholeSae, measure
from monitor.lab.sae_training.spliced_loss import SplicedLoss
from monitor.lab.sae_training.text_sources import open_sources
from monitor.lab.sae_training.train import TrainOptions, train
from monitor.lab.sae_training.training_recipe import StreamRecipe, TrainingRecipe
from monitor.lab.sae_training.training_run import TrainingRun
from monitor.model.files import ModelFiles, locate
from monitor.readers.cut_model import TorchPrecision

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StreamRequest:
    """Texts that a model reads whenever activations are needed."""

    sources: tuple[str, ...]
    model: str
    text: TextOptions
    precision: TorchPrecision
    max_norm: float | None
    batch_rows: int = 16


@dataclass(frozen=True)
class Compute:
    """Where the model and the SAE run, and how much is measured."""

    device: str = "cpu"
    threads: int = 0
    held_out_tokens: int | None = 100_000
    ce_tokens: int = 8_192
    """Predictions to measure the spliced loss on; 0 skips it."""


def run_training(
    out: Path,
    recipe: TrainingRecipe,
    resume: bool,
    on_step: Callable[[int, str], None] = lambda _step, _counts: None,
) -> dict[str, Any]:
    """Trains, saves and measures. Returns the figures, which also go to the run's metrics.json.

    `on_step` gets the number of each step and its figures in words. Raises ConfigError and Permanent as its parts do.
    """
    compute = Compute(recipe.device, recipe.threads, recipe.held_out_tokens, recipe.ce_tokens)
    source, model = _open(recipe, compute)
    options = TrainOptions(recipe.device, recipe.checkpoint_every, recipe.save_dtype, resume)
    run = TrainingRun(out)
    counts = ""

    def on_metrics(step: int, metrics: dict[str, Any]) -> None:
        nonlocal counts
        if metrics:
            loss, active = metrics["losses.overall_loss"], metrics["metrics.l0"]
            counts = f"loss {loss:.4g}, FVU {1 - metrics['metrics.explained_variance']:.3f}, L0 {active:.1f}"
        on_step(step, counts)

    folder = train(run, recipe.sae(), source, options, on_metrics)
    figures = measured(folder, source, "held_out", model, compute)
    run.figures.write_text(json.dumps(figures, indent=1) + "\n")
    log.info("measured %s", figures)
    return figures


def measured(
    folder: Path, source: ActivationSource, split: Split, model: ModelFiles | None, compute: Compute
) -> dict[str, Any]:
    """FVU, L0 and latents never active over one split of `source`, and the spliced loss if `model` is given."""
    sae = WholeSae(folder, compute.device)
    found: SaeFigures = measure(sae, source.chunks(split), compute.held_out_tokens)
    figures = found.result()
    if model is None or not compute.ce_tokens or not figures["tokens"]:
        return figures
    spliced = SplicedLoss(
        model.folder,
        source.provenance.layer,
        precision=source.provenance.precision,
        device=compute.device,
        max_norm=source.provenance.max_norm,
        threads=compute.threads,
    )
    rows: Iterable[PackedRow] = source.rows(split)
    return figures | {"spliced": spliced.measure(rows, sae.reconstruct, found.mean, compute.ce_tokens)}


def open_stream(request: StreamRequest, layer: int, compute: Compute) -> tuple[StreamedActivations, ModelFiles]:
    """The activations of `request` at one layer, and the model that they come from."""
    sources = open_sources(request.sources)
    model = locate(request.model, None, None)
    reader = PackedReader(
        model.folder,
        (layer,),
        precision=request.precision,
        device=compute.device,
        batch_rows=request.batch_rows,
        max_norm=request.max_norm,
        threads=compute.threads,
    )
    reader.check_context(request.text.context)
    provenance = ActivationProvenance(
        request.model,
        model.sha256,
        layer,
        request.precision,
        request.max_norm,
        asdict(request.text),
        tuple(f"{s.name} {s.sha256}" for s in sources),
    )
    return StreamedActivations(RowStream(sources, model, request.text), reader, provenance), model


def _open(recipe: TrainingRecipe, compute: Compute) -> tuple[ActivationSource, ModelFiles | None]:
    if recipe.stream is not None:
        return open_stream(_stream_request(recipe.stream, recipe.seed), recipe.layer, compute)
    return _open_store(recipe.data or Path(), recipe.layer, recipe.seed, compute)


def _stream_request(stream: StreamRecipe, seed: int) -> StreamRequest:
    return StreamRequest(
        sources=stream.sources,
        model=stream.model,
        text=TextOptions(stream.context, stream.chat, None, stream.held_out, seed),
        precision=stream.dtype,
        max_norm=stream.max_norm or None,
        batch_rows=stream.batch_rows,
    )


def _open_store(folder: Path, layer: int, seed: int, compute: Compute) -> tuple[StoredActivations, ModelFiles | None]:
    source = StoredActivations(ActivationStore.open(folder), layer, seed)
    if not compute.ce_tokens:
        return source, None
    model = locate(source.provenance.model, None, None)
    if model.sha256 != source.provenance.model_sha256:
        raise ConfigError(
            f"{folder}: its activations come from a model with sha256 {source.provenance.model_sha256}, but "
            f"{source.provenance.model} now has {model.sha256}; set ce_tokens to 0 to train without the model"
        )
    return source, model
