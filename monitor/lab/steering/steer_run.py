"""A steering run: finds the values to hold a feature at, runs the model, and writes what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

import monitor
from monitor.errors import ConfigError
from monitor.lab.data.chosen_sets import own_contrasts
from monitor.lab.data.rows import load_rows
from monitor.lab.reading.progress import row_progress
from monitor.lab.run_folder import write_json
from monitor.lab.steering.feature_choice import control_latents, labels_of
from monitor.lab.steering.rig import SeenActivations, SteeringRig
from monitor.lab.steering.steer import SteeredText, SteerRequest, condition_count, steer
from monitor.lab.steering.steer_figures import SteerFigures, steer_figures
from monitor.lab.steering.steer_page import PageFacts, write_steer_page
from monitor.lab.steering.steer_plot import write_sweep


@dataclass(frozen=True)
class SteerRun:
    """What one run found."""

    request: SteerRequest
    label: str
    largest: float | None
    """The feature's largest activation on the texts that were looked at; None if none were."""
    texts: tuple[SteeredText, ...]
    figures: tuple[SteerFigures, ...]
    threshold: float | None
    """Of the set; None without one."""

    def row(self) -> dict[str, Any]:
        """As JSON has it, with the texts."""
        return {
            "latentwatch": monitor.__version__,
            "feature": self.request.feature,
            "label": self.label,
            "largest_activation": self.largest,
            "mode": self.request.mode,
            "threshold": self.threshold,
            "seed": self.request.generation.seed,
            "figures": [figures.row() for figures in self.figures],
            "texts": [
                {
                    "kind": text.condition.kind,
                    "which": text.condition.which,
                    "value": None if text.condition.edit is None else text.condition.value,
                    "prompt": self.request.prompts[text.prompt],
                    "text": text.text,
                    "score": None if text.score != text.score else round(text.score, 6),
                }
                for text in self.texts
            ],
        }


def seen_in_files(rig: SteeringRig, files: Sequence[Path], rows: int, console: Console) -> SeenActivations:
    """What all latents do on labelled rows: those of `files`, or else the contrasts of the set's category.

    At most `rows` rows of each file. Raises ConfigError if there are none.
    """
    loaded = rig.hook.loaded
    chosen = tuple(files) or (() if loaded is None else own_contrasts(loaded.set))
    if not chosen:
        raise ConfigError("--texts: needed, because the project has no texts of its own for this category")
    events = [row.event(n) for path in chosen for n, row in enumerate(load_rows(path, rows))]
    with row_progress(console) as progress:
        task = progress.add_task("looking for the largest activation", total=len(events))
        return rig.seen(events, lambda count: progress.advance(task, count))


def controls_of(rig: SteeringRig, seen: SeenActivations, feature: int, count: int, seed: int) -> tuple[int, ...]:
    """Control latents that are not in the set."""
    loaded = rig.hook.loaded
    excluded = set() if loaded is None else set(loaded.set.indices())
    return tuple(control_latents(seen, feature, count, excluded, seed))


def run_steering(rig: SteeringRig, request: SteerRequest, largest: float | None, console: Console) -> SteerRun:
    """Runs the model under every condition."""
    threshold = None if rig.hook.loaded is None else rig.hook.loaded.set.active_from
    with row_progress(console) as progress:
        total = condition_count(request) * request.samples * len(request.prompts)
        task = progress.add_task(f"steering latent {request.feature}", total=total)
        texts = steer(rig, request, lambda count: progress.advance(task, count))
    figures = steer_figures(texts, threshold, request.generation.seed)
    label = labels_of(rig.hook).get(request.feature, "")
    return SteerRun(request, label, largest, tuple(texts), tuple(figures), threshold)


def write_steering(folder: Path, rig: SteeringRig, run: SteerRun) -> Path:
    """Writes index.html, steering.json and, of a sweep, sweep.png. Returns the page's path."""
    ref, loaded = rig.hook.reader, rig.hook.loaded
    plot = None
    if len(run.request.values) > 1 and loaded is not None:
        plot = folder / "sweep.png"
        write_sweep(plot, run.figures, run.threshold)
    of_set = "" if loaded is None else f", set {loaded.set.id} {loaded.set.version}"
    made = f"{ref.model}, layer {ref.layer}, {ref.hook}{of_set}; {run.request.mode}, on every token"
    if run.largest is not None:
        made += f"; largest activation seen: {run.largest:.4g}"
    write_json(folder / "steering.json", {"model_sha256": ref.model_sha256, "sae_sha256": ref.sae.sha256, **run.row()})
    page = folder / "index.html"
    facts = PageFacts(run.request.feature, run.label, made, run.request.prompts)
    write_steer_page(page, facts, run.texts, run.figures, plot)
    return page
