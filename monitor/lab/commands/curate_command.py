"""`lab curate`; imports the libraries that only the lab needs when it is called."""

from __future__ import annotations

import os
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from monitor.config.load import load_config
from monitor.config.sections import Config
from monitor.errors import ConfigError
from monitor.lab.commands.extra import lab_extra
from monitor.lab.commands.options import (
    BenignOption,
    ConfigOption,
    LabelledOption,
    LimitOption,
    Precision,
    SeedOption,
)

_CATEGORY = re.compile(r"[a-z0-9][a-z0-9_]*")


class PoolingName(StrEnum):
    """How the activations over a text become one number."""

    MEAN = "mean"
    MAX = "max"
    TOPK_MEAN = "topk_mean"


def curate(
    data: LabelledOption,
    benign: BenignOption,
    category: Annotated[str, typer.Option(help="Category to find candidates for, such as unsafe_code.")],
    out: Annotated[Path, typer.Option("--out", help="New folder for pages, set, figures and log.")],
    set_name: Annotated[
        str | None, typer.Option("--set", help="Set that names model, layer and SAE: id, category or YAML file.")
    ] = None,
    sae: Annotated[Path | None, typer.Option(help="Instead of --set: folder or file of an SAE.")] = None,
    layer: Annotated[
        int | None, typer.Option(help="With --sae: block whose output the SAE reads, from 0.", min=0)
    ] = None,
    model: Annotated[str | None, typer.Option(help="As reader.model in the config.")] = None,
    max_norm: Annotated[
        float | None,
        typer.Option(help="With --sae: ignore tokens with a longer residual; default 3000, 0 keeps all.", min=0),
    ] = None,
    top: Annotated[int, typer.Option(help="Most candidates to keep.", min=1)] = 20,
    pooling: Annotated[
        PoolingName, typer.Option(help="Pooling for the ranking and for the written set.")
    ] = PoolingName.MEAN,
    target_fpr: Annotated[float, typer.Option(help="Largest share of benign texts that may reach a threshold.")] = 0.01,
    seed: SeedOption = 0,
    limit: LimitOption = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder that keeps activations, so that a stopped run can continue.")
    ] = None,
    dtype: Annotated[Precision | None, typer.Option(help="Precision of the model.")] = None,
    device: Annotated[str | None, typer.Option(help="Torch device.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; 0 uses all available cores.", min=0)] = None,
    config: ConfigOption = None,
) -> None:
    """Rank an SAE's latents as candidate features for a category; writes a page for each and a set to start from."""
    with lab_extra():
        from monitor.lab.curation.curate import CurationRequest
        from monitor.lab.curation.curate import curate as run
        from monitor.lab.curation.curate_run import SET_FILE, write_curation
        from monitor.lab.reading.hook import hook_of_sae, hook_of_set
        from monitor.lab.run_folder import new_run_folder
    _check(category, target_fpr, set_name, sae, layer, max_norm)
    settings = _with_reader(
        load_config(config, os.environ),
        {"model": model, "dtype": dtype and dtype.value, "device": device, "threads": threads},
    )
    console = Console(stderr=True)
    folder = new_run_folder(out)
    if set_name is not None:
        hook = hook_of_set(settings, set_name)
    else:
        norm = 3000.0 if max_norm is None else max_norm
        hook = hook_of_sae(settings, sae or Path(), layer or 0, norm or None)
    request = CurationRequest(
        data=tuple(data),
        benign=tuple(benign),
        category=category,
        top=top,
        pooling=pooling.value,
        target_fpr=target_fpr,
        seed=seed,
        limit=limit,
        cache=cache,
    )
    result = run(request, hook, settings, console)
    write_curation(folder, request, result, hook, settings)
    for note in result.notes:
        console.print(f"note: {escape(note)}", highlight=False, soft_wrap=True)
    table = Table(
        "rank", "latent", "strongest tokens", "score", "AUROC", "worst source", "length-matched", "benign texts"
    )
    for candidate in result.candidates:
        figures = candidate.figures
        table.add_row(
            str(candidate.rank),
            str(candidate.latent),
            escape(candidate.contexts.label),
            f"{figures.score:.3f}",
            f"{figures.auroc[request.pooling]:.2f}",
            f"{figures.worst_auroc:.2f}",
            f"{figures.length_matched_auroc:.2f}",
            f"{figures.benign_texts:.1%}",
        )
    Console().print(table)
    console.print(f"written: {escape(str(folder / 'index.html'))}", highlight=False, soft_wrap=True)
    console.print(f"written: {escape(str(folder / SET_FILE))}", highlight=False, soft_wrap=True)


def _check(
    category: str, target_fpr: float, set_name: str | None, sae: Path | None, layer: int | None, max_norm: float | None
) -> None:
    problems = []
    if not _CATEGORY.fullmatch(category):
        problems.append(f"--category: {category}: only lower-case letters, digits and _ are allowed, as in unsafe_code")
    if not 0 < target_fpr < 0.5:
        problems.append("--target-fpr: must be above 0 and below 0.5")
    if (set_name is None) == (sae is None):
        problems.append("give either --set or --sae")
    elif sae is not None and layer is None:
        problems.append("--layer: missing; with --sae, give the block whose output the SAE reads")
    elif set_name is not None and (layer is not None or max_norm is not None):
        problems.append("--layer and --max-norm go with --sae; a set names its own")
    if problems:
        raise ConfigError(problems)


def _with_reader(config: Config, changes: dict[str, str | int | None]) -> Config:
    given = {name: value for name, value in changes.items() if value is not None}
    return config.changed(reader=config.reader.changed(engine="torch", bundle=None, **given))
