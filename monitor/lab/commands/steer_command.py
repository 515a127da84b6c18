"""`lab steer` and `lab steer-examples`; they import the libraries that only the lab needs when they are called."""

from __future__ import annotations

import math
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from monitor.config.load import load_config
from monitor.errors import ConfigError
from monitor.lab.commands.extra import lab_extra
from monitor.lab.commands.options import ConfigOption, SeedOption

if TYPE_CHECKING:
    from monitor.config.sections import Config
    from monitor.lab.reading.hook import Hook
    from monitor.lab.steering.rig import SteeringRig

RowsOption = Annotated[int, typer.Option(help="Most rows of each file to look for the largest activation in.", min=1)]


class ModeName(StrEnum):
    """What is done to the feature."""

    CLAMP = "clamp"
    ADD = "add"


def steer(
    prompt: Annotated[list[str], typer.Option("--prompt", help="The user's turn; repeatable.")],
    feature: Annotated[str, typer.Option(help="Index of the latent, or a part of its label.")],
    set_name: Annotated[
        str | None, typer.Option("--set", help="Set that names model, layer and SAE: id, category or YAML file.")
    ] = None,
    sae: Annotated[Path | None, typer.Option(help="Instead of --set: folder or file of an SAE.")] = None,
    layer: Annotated[
        int | None, typer.Option(help="With --sae: block whose output the SAE reads, from 0.", min=0)
    ] = None,
    model: Annotated[str | None, typer.Option(help="As reader.model in the config.")] = None,
    values: Annotated[
        str, typer.Option("--values", "--value", help="Activations to hold it at, separated by commas; 0 ablates it.")
    ] = "",
    times_max: Annotated[
        str, typer.Option(help="Instead of --values: multiples of the largest activation seen, separated by commas.")
    ] = "",
    mode: Annotated[
        ModeName, typer.Option(help="clamp sets the activation; add only adds the feature's direction.")
    ] = ModeName.CLAMP,
    system: Annotated[str, typer.Option(help="A system turn.")] = "",
    tokens: Annotated[int, typer.Option(help="Most tokens of a text.", min=1, max=2_000)] = 60,
    until_token: Annotated[str | None, typer.Option(help="End a text at this token, too.")] = None,
    samples: Annotated[int, typer.Option(help="Texts for each prompt and value; above 1, they are drawn.", min=1)] = 1,
    temperature: Annotated[
        float | None, typer.Option(help="Temperature of drawn texts; default: 0.8, or 0 for one sample.", min=0)
    ] = None,
    controls: Annotated[
        int, typer.Option(help="Control features and random directions, so many of each, moved as far.", min=0, max=50)
    ] = 0,
    texts: Annotated[
        list[Path] | None,
        typer.Option(help="Labelled rows to look for the largest activation in; default: the set's own contrasts."),
    ] = None,
    rows: RowsOption = 100,
    out: Annotated[Path | None, typer.Option("--out", help="New folder for page, figures and curve.")] = None,
    seed: SeedOption = 0,
    config: ConfigOption = None,
) -> None:
    """Hold a feature at a value while the model writes, and show the texts next to those without."""
    settings = _settings(config, model)
    numbers, multiples = _numbers(values, "--values"), _numbers(times_max, "--times-max")
    if bool(numbers) == bool(multiples):
        raise ConfigError("give either --values or --times-max")
    with lab_extra():
        from monitor.lab.run_folder import new_run_folder
        from monitor.lab.steering.feature_choice import find_feature
        from monitor.lab.steering.rig import SteeringRig
        from monitor.lab.steering.steer import SteerRequest
        from monitor.lab.steering.steer_run import controls_of, run_steering, seen_in_files, write_steering
        from monitor.lab.steering.steer_tables import steer_table
        from monitor.lab.steering.steered_model import GenerationSettings
    console = Console(stderr=True)
    folder = None if out is None else new_run_folder(out)
    hook = _hook(settings, set_name, sae, layer)
    latent = find_feature(hook, feature)
    rig = SteeringRig(hook, settings)
    largest: float | None = None
    control_latents: tuple[int, ...] = ()
    if multiples or controls:
        seen = seen_in_files(rig, texts or (), rows, console)
        largest = float(seen.largest[latent])
        if multiples and not largest > 0:
            raise ConfigError(f"--times-max: latent {latent} is never active in these texts; give --values")
        control_latents = controls_of(rig, seen, latent, controls, seed)
        numbers = numbers or tuple(k * largest for k in multiples)
    heat = (0.8 if samples > 1 else 0.0) if temperature is None else temperature
    if samples > 1 and not heat:
        raise ConfigError("--samples: several texts at temperature 0 are all the same")
    request = SteerRequest(
        feature=latent,
        values=numbers,
        prompts=tuple(prompt),
        system=system,
        mode=mode.value,
        controls=control_latents,
        directions=controls,
        samples=samples,
        generation=GenerationSettings(tokens, _stops(rig, until_token), heat, seed),
    )
    run = run_steering(rig, request, largest, console)
    for table in steer_table(run):
        Console().print(table)
    if folder is not None:
        page = write_steering(folder, rig, run)
        console.print(f"written: {escape(str(page))}", highlight=False, soft_wrap=True)


def steer_examples(
    out: Annotated[Path, typer.Option("--out", help="New folder: a page for each example, and one figure.")],
    examples: Annotated[
        Path | None, typer.Option(help="YAML file of examples; default: those of docs/steering.md.")
    ] = None,
    rows: RowsOption = 100,
    seed: SeedOption = 0,
    config: ConfigOption = None,
) -> None:
    """Steer the worked examples of the docs, one feature of each set, and print their figures as Markdown."""
    with lab_extra():
        from monitor.lab.run_folder import new_run_folder
        from monitor.lab.steering.examples import load_examples, run_examples, shipped_examples
    chosen = shipped_examples() if examples is None else load_examples(examples)
    folder = new_run_folder(out)
    console = Console(stderr=True)
    sys.stdout.write(run_examples(chosen, folder, _settings(config, None), rows, seed, console) + "\n")
    console.print(f"written: {escape(str(folder / 'steering.png'))}", highlight=False, soft_wrap=True)


def _settings(config: Path | None, model: str | None) -> Config:
    settings = load_config(config, os.environ)
    changes = {} if model is None else {"model": model}
    return settings.changed(reader=settings.reader.changed(engine="torch", bundle=None, **changes))


def _hook(settings: Config, set_name: str | None, sae: Path | None, layer: int | None) -> Hook:
    from monitor.lab.reading.hook import hook_of_sae, hook_of_set

    if (set_name is None) == (sae is None):
        raise ConfigError("give either --set or --sae")
    if set_name is not None:
        if layer is not None:
            raise ConfigError("--layer goes with --sae; a set names its own")
        return hook_of_set(settings, set_name)
    if layer is None:
        raise ConfigError("--layer: missing; with --sae, give the block whose output the SAE reads")
    return hook_of_sae(settings, sae or Path(), layer, 3000.0)


def _stops(rig: SteeringRig, until: str | None) -> tuple[int, ...]:
    special = rig.tokeniser.special
    if until is None:
        return special
    token = rig.tokeniser.token(until)
    if token is None:
        raise ConfigError(f"--until-token: {until!r} is not one token of the model")
    return (*special, token)


def _numbers(text: str, option: str) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise ConfigError(f"{option}: {text}: expected numbers separated by commas") from None
    if not all(map(math.isfinite, found)):
        raise ConfigError(f"{option}: {text}: expected finite numbers")
    return tuple(dict.fromkeys(found))
