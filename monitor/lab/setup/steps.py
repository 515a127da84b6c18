"""Step: one command of the way to sets of your own, what it makes, and whether it is done."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from monitor.errors import ConfigError
from monitor.lab.setup.answers import Answers
from monitor.lab.setup.working_folder import WorkingFolder


@dataclass(frozen=True)
class Step:
    """A command of latentwatch, which could as well be typed, and what comes after it."""

    name: str
    what: str
    """For people."""
    command: tuple[str, ...]
    """Arguments of latentwatch."""
    makes: tuple[Path, ...] = ()
    """Files that exist when it is done."""
    owns: tuple[Path, ...] = ()
    """Files and folders that must not exist before, so what a stopped try left is removed."""
    then: Callable[[], None] | None = None
    """What init does with the result."""

    def clear(self) -> None:
        """Removes what a stopped try left behind. Raises ConfigError if it can't."""
        for path in self.owns:
            try:
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
            except OSError as e:
                raise ConfigError(f"{path}: cannot be removed: {e.strerror}") from None


def steps_of(answers: Answers, folder: WorkingFolder) -> list[Step]:
    """All steps after the preparation, in order. The layer of `answers` is known."""
    config = ("--config", str(folder.config))
    seed = ("--seed", str(answers.seed))
    rate = ("--target-fpr", f"{answers.target_fpr:g}")
    cache = ("--cache", str(folder.cache))
    steps = [_fit(answers, folder)] if answers.fit else []
    for category, files in answers.data.items():
        out = folder.candidates(category)
        steps.append(
            Step(
                f"curate {category}",
                "rank the SAE's latents as candidate features, and make a draft set of the best",
                (
                    *("lab", "curate", "--sae", str(answers.sae), "--layer", str(answers.layer)),
                    *("--max-norm", f"{answers.max_norm:g}", "--top", str(answers.top), *rate, *seed, *cache),
                    *_each("--data", folder.rows("curate", category, files)),
                    *("--benign", str(folder.benign("curate")), "--category", category, "--out", str(out), *config),
                ),
                makes=(out / "index.html", folder.set_file(category)),
                owns=(out,),
                then=lambda category=category: folder.draft(category),  # type: ignore[misc]
            )
        )
    if answers.neuronpedia:
        renamed = ("--model-id", answers.model_id) if answers.model_id is not None else ()
        steps += [
            Step(
                f"label {category}",
                "take the latents' labels from Neuronpedia's explanations",
                (
                    *("lab", "label", "import", str(folder.set_file(category))),
                    *(*_each("--neuronpedia", answers.neuronpedia), *renamed, *config),
                ),
            )
            for category in answers.data
        ]
    sets = [folder.set_file(category) for category in answers.data]
    steps.append(
        Step(
            "calibrate",
            "set thresholds on benign rows that were not used so far",
            (
                *("lab", "calibrate", *_each("--set", sets), "--benign", str(folder.benign("calibrate"))),
                *(*rate, *seed, "--write", *config),
            ),
        )
    )
    for category, files in answers.data.items():
        train = folder.rows("curate", category, files)
        steps.append(
            Step(
                f"report {category}",
                "measure the set on rows that were not used so far, next to a dense probe and other detectors",
                (
                    *("lab", "evaluate", "--set", str(folder.set_file(category))),
                    *_each("--data", folder.rows("judge", category, files)),
                    *("--benign", str(folder.benign("judge")), *_each("--train", train), "--no-peers"),
                    *(*seed, *cache, "--out", str(folder.report(category)), *config),
                ),
                makes=(folder.report(category) / "report.md",),
                owns=(folder.report(category),),
            )
        )
    category, files = next(iter(answers.data.items()))
    scanned = folder.rows("judge", category, files)[0]
    steps.append(
        Step(
            "scan",
            "read rows with the sidecar's own reader, which is compiled for the model now, and write alerts",
            ("scan", str(scanned), "--out", str(folder.alerts), *config),
            makes=(folder.alerts,),
            owns=(folder.alerts,),
        )
    )
    return steps


class StepLog:
    """Which steps are done and how long each took, in steps.json."""

    def __init__(self, folder: WorkingFolder) -> None:
        """Raises ConfigError if the file can't be used."""
        self._path = folder.done
        try:
            found = json.loads(self._path.read_text(encoding="utf-8")) if self._path.exists() else {}
        except (OSError, ValueError) as e:
            raise ConfigError(f"{self._path}: cannot be read: {e}; delete it to do all steps again") from None
        if not isinstance(found, dict):
            raise ConfigError(f"{self._path}: not an object; delete it to do all steps again")
        self._seconds: dict[str, float] = found

    def done(self, step: Step) -> bool:
        """Whether the step was finished and its files are still there."""
        return step.name in self._seconds and all(path.exists() for path in step.makes)

    def seconds(self, name: str) -> float:
        """How long a finished step took; 0 if it is not finished."""
        return self._seconds.get(name, 0.0)

    def add(self, name: str, seconds: float) -> None:
        """Writes down that a step is done. Raises ConfigError if it can't."""
        self._seconds[name] = round(seconds, 1)
        self._save()

    def forget(self, steps: list[Step]) -> None:
        """Takes these steps as not done."""
        for step in steps:
            self._seconds.pop(step.name, None)
        self._save()

    def _save(self) -> None:
        part = self._path.with_name(f"{self._path.name}.part")
        try:
            part.write_text(json.dumps(self._seconds, indent=2) + "\n", encoding="utf-8")
            part.replace(self._path)
        except OSError as e:
            raise ConfigError(f"{self._path}: cannot be written: {e.strerror}") from None


def _fit(answers: Answers, folder: WorkingFolder) -> Step:
    return Step(
        "fit",
        "measure that the SAE belongs to the model and layer",
        (
            *("sae", "inspect", str(answers.sae), "--model", answers.model, "--layer", str(answers.layer)),
            *("--texts", str(folder.benign("curate")), "--max-norm", f"{answers.max_norm:g}"),
        ),
    )


def _each(option: str, values: list[Path] | tuple[Path, ...]) -> tuple[str, ...]:
    return tuple(part for value in values for part in (option, str(value)))
