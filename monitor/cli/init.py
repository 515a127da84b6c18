"""The command `latentwatch init`: from your model, SAE and rows to calibrated draft sets, step by step."""

from __future__ import annotations

import os
import shlex
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.errors import ConfigError, Permanent

if TYPE_CHECKING:
    from rich.console import Console

    from monitor.lab.setup.answers import Answers
    from monitor.lab.setup.steps import Step, StepLog
    from monitor.lab.setup.working_folder import WorkingFolder

_PREPARE = "prepare"


class ReaderEngine(StrEnum):
    """What the sidecar reads with."""

    ONNX = "onnx"
    TORCH = "torch"


def init(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Working folder: a new one, or one to go on with.")],
    model: Annotated[str | None, typer.Option(help="As reader.model in the config.")] = None,
    sae: Annotated[Path | None, typer.Option(help="Folder or file of an SAE in any known format.")] = None,
    layer: Annotated[
        int | None, typer.Option(help="Block that the SAE reads, from 0, if the SAE's files don't say.", min=0)
    ] = None,
    max_norm: Annotated[float, typer.Option(help="Ignore tokens with a longer residual; 0 keeps all.", min=0)] = 0.0,
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="CATEGORY=FILE", help="File of labelled rows for a category; repeatable."),
    ] = None,
    benign: Annotated[list[Path] | None, typer.Option(help="File of harmless rows or events; repeatable.")] = None,
    neuronpedia: Annotated[
        list[Path] | None, typer.Option(help="Explanations that Neuronpedia exports, for labels; repeatable.")
    ] = None,
    model_id: Annotated[
        str | None, typer.Option(help="With --neuronpedia: its id of the model, if that differs.")
    ] = None,
    top: Annotated[int, typer.Option(help="Most features of each set.", min=1)] = 10,
    target_fpr: Annotated[float, typer.Option(help="Share of benign rows that may raise an alert.")] = 0.01,
    limit: Annotated[
        int | None, typer.Option(help="Most rows per file, drawn with the seed; pairs stay whole.", min=1)
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of samples and splits.")] = 0,
    engine: Annotated[
        ReaderEngine, typer.Option(help="reader.engine in the config that is written.")
    ] = ReaderEngine.ONNX,
    fit: Annotated[
        bool, typer.Option("--fit/--no-fit", help="Measure first that the SAE belongs to the model and layer.")
    ] = True,
    start: Annotated[
        str | None, typer.Option("--from", metavar="STEP", help="Do this step and all after it again.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the input, list the steps and their commands, and do nothing.")
    ] = False,
) -> None:
    """Make feature sets for your own model and SAE: candidates, thresholds, a report and a config, in one folder.

    On a terminal, it asks for what is missing. Each step is a command of its own, which is printed. If a step fails or
    is stopped, the same command goes on from there.
    """
    from rich.console import Console

    from monitor.lab.commands.extra import lab_extra

    with lab_extra():
        from monitor.lab.setup.answers import answers_of, load_answers
        from monitor.lab.setup.steps import StepLog, steps_of
        from monitor.lab.setup.working_folder import WorkingFolder
    console = Console(stderr=True)
    place = WorkingFolder(folder.expanduser().resolve())
    begun = place.answers.is_file()
    given: dict[str, Any] = {
        "model": model and _local(model),
        "sae": sae and sae.expanduser().resolve(),
        "layer": layer,
        "data": data and _by_category(data),
        "benign": benign and tuple(path.expanduser().resolve() for path in benign),
        "max_norm": max_norm,
        "neuronpedia": tuple(path.expanduser().resolve() for path in neuronpedia or ()),
        "model_id": model_id,
        "top": top,
        "target_fpr": target_fpr,
        "limit": limit,
        "seed": seed,
        "engine": engine.value,
        "fit": fit,
    }
    if begun:
        answers = load_answers(place.answers)
        _check_same(answers, given, context, place)
        answers = answers.model_copy(update={"fit": answers.fit and fit})
    else:
        answers = answers_of("latentwatch init", _completed(given))
        answers = _prepare(answers, place, console, write=not dry_run)
    steps = steps_of(answers, place)
    log = StepLog(place)
    if start is not None:
        again = _from(steps, start)
        if not dry_run:
            log.forget(again)
    if dry_run:
        _list(console, steps, log, start)
        return
    for number, step in enumerate(steps, start=1):
        heading = f"step {number} of {len(steps)}: {step.name}"
        if log.done(step):
            _say(console, f"{heading}: done before, in {log.seconds(step.name):.0f} s")
            continue
        _say(console, f"{heading}: {step.what}")
        _run(context, console, place, step, log, steps[number].name if number < len(steps) else None)
    _closing(console, answers, place, steps, log)


def _prepare(answers: Answers, place: WorkingFolder, console: Console, *, write: bool) -> Answers:
    """Checks everything and writes the folder's first files; the answers with all that only the files say."""
    from monitor.lab.commands.extra import lab_extra

    with lab_extra():
        from monitor.lab.setup.inputs import checked_inputs
        from monitor.lab.setup.steps import StepLog
    from monitor.config.load import load_config

    if write:
        place.open()
    started = time.monotonic()
    _say(console, "checking model, SAE and rows")
    inputs = checked_inputs(answers, load_config(None, os.environ))
    reader = inputs.reader
    _say(
        console,
        f"the SAE ({reader.sae.format}, {reader.sae.width} latents) reads {reader.hook} of block {reader.layer} of "
        f"{reader.model}",
    )
    if answers.fit and not inputs.answers.fit:
        _say(console, "note: FVU and loss of this SAE can't be measured, so nothing tells whether it fits the model")
    if write:
        place.prepare(inputs.answers, reader, inputs.split)
        took = time.monotonic() - started
        StepLog(place).add(_PREPARE, took)
        _say(console, f"done in {took:.0f} s: {place.path} has {place.config.name}, rows and sets/reader.yaml")
    return inputs.answers


def _run(
    context: typer.Context, console: Console, place: WorkingFolder, step: Step, log: StepLog, following: str | None
) -> None:
    """Runs a step in this process. What goes wrong is raised after a word on how to go on."""
    _say(console, f"  {_typed(step)}")
    started, worked = time.monotonic(), time.process_time()
    try:
        step.clear()
        code = context.find_root().command.main(list(step.command), prog_name="latentwatch", standalone_mode=False)
        if code:
            raise Permanent(f"{step.name}: the command ended with code {code}; it printed the reason")
        if step.then is not None:
            step.then()
        log.add(step.name, time.monotonic() - started)
    except BaseException:
        hint = "; --no-fit skips this step" if step.name == "fit" else ""
        again = shlex.join(["latentwatch", "init", str(place.path)])
        _say(console, f"step {step.name} failed; correct the cause and go on with: {again}{hint}")
        raise
    made = f": {', '.join(map(str, step.makes))}" if step.makes else ""
    what_is_next = "" if following is None else f"; next: {following}"
    took = f"{log.seconds(step.name):.0f} s ({time.process_time() - worked:.0f} s of CPU time)"
    _say(console, f"done in {took}{made}{what_is_next}")


def _closing(console: Console, answers: Answers, place: WorkingFolder, steps: list[Step], log: StepLog) -> None:
    config = shlex.quote(str(place.config))
    total = sum(log.seconds(name) for name in (_PREPARE, *(step.name for step in steps)))
    with place.alerts.open("rb") as file:
        alerts = sum(1 for _ in file)
    _say(console, f"all steps are done, in {total:.0f} s altogether; the scan raised {alerts} alerts")
    _say(console, "look at:")
    for category in answers.data:
        _say(console, f"  {place.candidates(category) / 'index.html'}")
        _say(console, f"  {place.report(category) / 'report.md'}")
    _say(console, f"then drop the features that mean nothing from the files in {place.sets}, and run:")
    _say(console, f"  latentwatch init {shlex.quote(str(place.path))} --from calibrate")
    _say(console, "a sidecar with these sets (first write kafka, source and sinks into the config):")
    _say(console, f"  latentwatch check --config {config}")
    _say(console, f"  latentwatch run --config {config}")


def _list(console: Console, steps: list[Step], log: StepLog, start: str | None) -> None:
    names = [step.name for step in steps]
    first = len(steps) if start is None else names.index(start)
    for number, step in enumerate(steps, start=1):
        state = "done" if log.done(step) and number <= first else "to do"
        _say(console, f"step {number} of {len(steps)}: {step.name} ({state}): {step.what}")
        _say(console, f"  {_typed(step)}")


def _completed(given: dict[str, Any]) -> dict[str, Any]:
    """The answers with what is missing asked for. Raises ConfigError if there is nobody to ask."""
    flags = {"model": "--model", "sae": "--sae", "data": "--data", "benign": "--benign"}
    missing = [key for key in flags if not given[key]]
    if not missing:
        return given
    if not _on_terminal():
        raise ConfigError(f"{flags[key]}: missing; only on a terminal does init ask for it" for key in missing)
    asked: dict[str, Any] = {}
    for key in missing:
        if key == "model":
            asked[key] = _local(typer.prompt("Model: a folder, a GGUF file, package:NAME or a name on a model hub"))
        elif key == "sae":
            asked[key] = Path(typer.prompt("SAE: its folder or file")).expanduser().resolve()
        elif key == "data":
            asked[key] = _by_category(_several("Labelled rows, as CATEGORY=FILE"))
        else:
            asked[key] = tuple(Path(path).expanduser().resolve() for path in _several("Benign rows or events: a file"))
    return {**given, **asked}


def _on_terminal() -> bool:
    return sys.stdin.isatty()


def _several(question: str) -> list[str]:
    found = [typer.prompt(question)]
    while more := typer.prompt("Another one (empty: none)", default="", show_default=False):
        found.append(more)
    return found


def _by_category(data: list[str]) -> dict[str, tuple[Path, ...]]:
    found: dict[str, tuple[Path, ...]] = {}
    for item in data:
        category, equals, file = item.partition("=")
        if not equals or not category or not file:
            raise ConfigError(f"--data: {item}: expected CATEGORY=FILE, as in bias=rows.jsonl")
        found[category] = (*found.get(category, ()), Path(file).expanduser().resolve())
    return found


def _local(model: str) -> str:
    """A model in a file or folder by its absolute path, because the config may be read from elsewhere."""
    path = Path(model).expanduser()
    return str(path.resolve()) if path.exists() else model


def _check_same(answers: Answers, given: dict[str, Any], context: typer.Context, place: WorkingFolder) -> None:
    """Raises ConfigError if options say something else than the folder was made with."""
    from monitor.lab.setup.answers import answers_of

    said = {
        key: value
        for key, value in given.items()
        if (source := context.get_parameter_source(key)) is not None and source.name == "COMMANDLINE"
    }
    asked = answers_of("latentwatch init", {**answers.model_dump(), **said})
    if different := answers.differences(asked):
        raise ConfigError(f"{place.path}: {difference}; use another folder for that" for difference in different)


def _from(steps: list[Step], name: str) -> list[Step]:
    names = [step.name for step in steps]
    if name not in names:
        raise ConfigError(f"--from {name}: no such step; the steps are {', '.join(names)}")
    return steps[names.index(name) :]


def _typed(step: Step) -> str:
    return shlex.join(["latentwatch", *step.command])


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
