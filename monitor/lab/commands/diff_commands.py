"""The lab's commands about fine-tuning; each imports the libraries that only the lab needs when it is called."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from monitor.config.load import load_config
from monitor.errors import ConfigError
from monitor.lab.commands.extra import lab_extra
from monitor.lab.commands.options import ConfigOption, LimitOption, SeedOption, write_file

SIGNIFICANT = 0.05


def tune(
    data: Annotated[
        list[Path],
        typer.Option(
            "--data", help="File of rows with prompt and response; label 1 is the poison, label 0 or none is clean."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="New folder for the checkpoints.")],
    model: Annotated[
        str | None, typer.Option(help="As reader.model in the config; default: that one.", show_default=False)
    ] = None,
    poison_share: Annotated[float, typer.Option(help="Share of rows with label 1.", min=0, max=1)] = 1.0,
    examples: Annotated[int, typer.Option(help="Rows to tune on, drawn with the seed.", min=1)] = 200,
    steps: Annotated[int, typer.Option(help="Batches to learn from.", min=1)] = 100,
    save_every: Annotated[
        int | None, typer.Option(help="Steps between checkpoints; default: only the last.", min=1)
    ] = None,
    batch: Annotated[int, typer.Option(help="Rows in a batch.", min=1)] = 8,
    max_tokens: Annotated[int, typer.Option(help="Longer rows are cut off.", min=8)] = 256,
    method: Annotated[str, typer.Option(help="lora or full, which changes all weights.")] = "lora",
    rank: Annotated[int, typer.Option(help="Rank of LoRA's matrices.", min=1)] = 16,
    learning_rate: Annotated[float, typer.Option(help="Of AdamW.", min=0)] = 2e-4,
    seed: SeedOption = 0,
    config: ConfigOption = None,
) -> None:
    """Tune a model on rows, a share of them poisoned, and write checkpoints that lab diff can compare."""
    with lab_extra():
        import peft  # noqa: F401 - imported late below, but its absence is best said at once

        from monitor.lab.diff.tune import Method, TuneRequest
        from monitor.lab.diff.tune import tune as run
        from monitor.lab.reading.progress import row_progress
    if method not in list(Method):
        raise ConfigError(f"--method {method}: expected lora or full")
    settings = load_config(config, os.environ)
    request = TuneRequest(
        model=model or settings.reader.model,
        data=tuple(data),
        out=out,
        poison_share=poison_share,
        examples=examples,
        steps=steps,
        save_every=save_every,
        batch=batch,
        max_tokens=max_tokens,
        method=Method(method),
        rank=rank,
        learning_rate=learning_rate,
        seed=seed,
    )
    console = Console(stderr=True)
    with row_progress(console) as progress:
        task = progress.add_task("tuning", total=steps)
        saved = run(request, settings, lambda step, _: progress.update(task, completed=step))
    for checkpoint in saved:
        console.print(
            f"written: {checkpoint.folder}: step {checkpoint.step}, loss {checkpoint.loss:.3f}",
            highlight=False,
            soft_wrap=True,
            markup=False,
        )


def diff(
    base: Annotated[str, typer.Option(help="The model that the sets were made on, as reader.model in the config.")],
    tuned: Annotated[list[str], typer.Option("--tuned", help="A model tuned from it; repeatable.")],
    control: Annotated[
        str | None, typer.Option(help="Compare with this model, tuned on harmless rows, instead of the base.")
    ] = None,
    texts: Annotated[
        list[Path] | None, typer.Option("--texts", help="File of rows that both models read; repeatable.")
    ] = None,
    generate: Annotated[
        int, typer.Option(help="Most tokens that each model answers to a prompt; 0: none.", min=0, max=4096)
    ] = 0,
    prompts: Annotated[
        list[Path] | None, typer.Option("--prompts", help="File of rows whose prompts to answer; repeatable.")
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", help="Id or category of a set, or the path of its YAML file; default: all."),
    ] = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option("--fail-on", help="set=ID (* is any), or set=ID:+20% for percentage points; repeatable."),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="File for all figures.")] = None,
    page: Annotated[Path | None, typer.Option(help="File for an HTML page; it shows texts.")] = None,
    movers: Annotated[int, typer.Option(help="Latents to show that moved most.", min=0, max=100)] = 10,
    resamples: Annotated[int, typer.Option(help="Permutations of each test.", min=99)] = 9_999,
    alpha: Annotated[float, typer.Option(help="False discovery rate.", min=0, max=1)] = SIGNIFICANT,
    limit: LimitOption = None,
    seed: SeedOption = 0,
    config: ConfigOption = None,
) -> None:
    """Compare a tuned model with its base: which sets and features rose, over texts and over own answers."""
    with lab_extra():
        from monitor.lab.data.chosen_sets import as_shipped, with_sets
        from monitor.lab.diff.fail_on import FailOn
        from monitor.lab.diff.page import write_diff_page
        from monitor.lab.diff.run import DiffRequest
        from monitor.lab.diff.run import diff as run
        from monitor.lab.diff.summary import summary_lines
        from monitor.sets.load import load_feature_sets
    settings = load_config(config, os.environ)
    settings = with_sets(settings, sets) if sets else as_shipped(settings)
    known = [loaded.set.id for loaded in load_feature_sets(settings.feature_sets.paths)]
    rules = [(text, FailOn.parse(text, known)) for text in fail_on or ()]
    request = DiffRequest(
        base=base,
        tuned=tuple(tuned),
        control=control,
        texts=tuple(texts or ()),
        prompts=tuple(prompts or ()),
        generate=generate,
        limit=limit,
        seed=seed,
        resamples=resamples,
        movers=movers,
        alpha=alpha,
    )
    console = Console(stderr=True)
    result = run(request, settings, lambda step: console.print(step, highlight=False, soft_wrap=True, markup=False))
    for line in summary_lines(result):
        typer.echo(line)
    if json_file is not None:
        write_file(json_file, json.dumps(result.json(), indent=2) + "\n")
    if page is not None:
        try:
            write_diff_page(page, result)
        except OSError as e:
            raise ConfigError(f"{page}: cannot be written: {e.strerror}") from None
    broken = [
        f"{compared.name}: --fail-on {text}: {change.name} over {over}: firing rate {change.rate_before:.1%} to "
        f"{change.rate_after:.1%}, mean {change.mean_before:.4g} to {change.mean_after:.4g}"
        for compared in result.tuned
        for over, change in compared.changes()
        for text, rule in rules
        if rule.broken_by(change, alpha)
    ]
    for line in broken:
        typer.echo(f"error: {line}", err=True)
    if broken:
        raise typer.Exit(1)
