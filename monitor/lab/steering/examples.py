"""Worked examples of steering: which features of which sets, and on which prompts."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError
from rich.console import Console

from detectors.frozen_model import FrozenModel
from monitor.config.sections import Config
from monitor.errors import ConfigError
from monitor.lab.reading.hook import hook_of_set
from monitor.lab.steering.rig import SteeringRig
from monitor.lab.steering.steer import SteerRequest
from monitor.lab.steering.steer_plot import write_examples
from monitor.lab.steering.steer_run import SteerRun, controls_of, run_steering, seen_in_files, write_steering
from monitor.lab.steering.steer_tables import examples_table, is_monotone
from monitor.lab.steering.steered_model import GenerationSettings
from monitor.yaml_file import faults, load_yaml

_FILE = "examples.yaml"


class Example(FrozenModel):
    """One feature of one set."""

    set: str
    feature: Annotated[int, Field(ge=0)]
    prompts: Annotated[tuple[str, ...], Field(min_length=1)]


class Examples(FrozenModel):
    """All of them, and how they are run."""

    times_max: Annotated[tuple[float, ...], Field(min_length=1)]
    tokens: Annotated[int, Field(gt=0, le=2_000)]
    controls: Annotated[int, Field(ge=0, le=50)]
    """Control features, and as many random directions."""
    examples: Annotated[tuple[Example, ...], Field(min_length=1)]


def shipped_examples() -> Examples:
    """Those of the docs."""
    return load_examples(Path(str(resources.files("monitor.lab.steering"))) / _FILE)


def load_examples(path: Path) -> Examples:
    """From a YAML file. Raises ConfigError with file, key and rule."""
    data, _ = load_yaml(path)
    try:
        return Examples.model_validate(data)
    except ValidationError as e:
        raise ConfigError(faults(path, e, "examples")) from None


def run_examples(examples: Examples, out: Path, config: Config, rows: int, seed: int, console: Console) -> str:
    """Runs all of them, writes a folder for each and steering.png, and returns the figures as Markdown."""
    runs: dict[str, SteerRun] = {}
    rig: SteeringRig | None = None
    for example in examples.examples:
        rig = SteeringRig(hook_of_set(config, example.set), config, rig)
        seen = seen_in_files(rig, (), rows, console)
        largest = float(seen.largest[example.feature])
        if not largest > 0:
            raise ConfigError(f"{example.set}: latent {example.feature} is never active in the set's contrasts")
        request = SteerRequest(
            feature=example.feature,
            values=tuple(k * largest for k in examples.times_max),
            prompts=example.prompts,
            controls=controls_of(rig, seen, example.feature, examples.controls, seed),
            directions=examples.controls,
            generation=GenerationSettings(examples.tokens, rig.tokeniser.special, seed=seed),
        )
        run = run_steering(rig, request, largest, console)
        folder = out / f"{example.set}-{example.feature}"
        folder.mkdir()
        write_steering(folder, rig, run)
        runs[example.set] = run
    write_examples(
        out / "steering.png",
        {f"{name}: latent {run.request.feature}": (run.figures, run.threshold) for name, run in runs.items()},
    )
    lines = [examples_table(runs), "", "The score never falls as the feature is held higher:", ""]
    for held, what in ((True, "while it is held"), (False, "of the text")):
        rising = [name for name, run in runs.items() if is_monotone(run, held)]
        lines.append(f"- {what}: {', '.join(rising) or 'none'}")
    return "\n".join(lines)
