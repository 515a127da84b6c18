"""The lab's commands about feature sets; each imports the libraries that only the lab needs when it is called."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from monitor.config.load import load_config
from monitor.errors import ConfigError
from monitor.lab.commands.extra import lab_extra
from monitor.lab.commands.options import (
    BenignOption,
    ConfigOption,
    JsonOption,
    LabelledOption,
    LimitOption,
    SeedOption,
    SetOption,
    whole_numbers,
    write_file,
)

SomeSetsOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Id or category of a set, or the path of its YAML file; default: all."),
]


def evaluate(
    sets: SetOption,
    data: LabelledOption,
    benign: Annotated[
        list[Path] | None, typer.Option("--benign", help="File of harmless rows or events; repeatable.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="New folder for report, figures and plots.")] = None,
    json_file: JsonOption = None,
    train: Annotated[
        list[Path] | None,
        typer.Option("--train", help="Labelled rows to fit the other detectors on; default: the project's own."),
    ] = None,
    peers: Annotated[bool, typer.Option("--peers/--no-peers", help="Include detectors of other projects.")] = True,
    seed: SeedOption = 0,
    limit: LimitOption = None,
    cache: Annotated[Path | None, typer.Option(help="Folder that keeps activations between runs.")] = None,
    config: ConfigOption = None,
) -> None:
    """Measure sets on labelled files, next to a dense probe and other detectors."""
    with lab_extra():
        from monitor.lab.evaluation.evaluate import EvaluationRequest
        from monitor.lab.evaluation.evaluate import evaluate as run
        from monitor.lab.evaluation.evaluation_run import write_run
        from monitor.lab.evaluation.figures_tables import figures_tables
        from monitor.lab.run_folder import new_run_folder
    settings = load_config(config, os.environ)
    console = Console(stderr=True)
    folder = None if out is None else new_run_folder(out)
    request = EvaluationRequest(
        tuple(sets), tuple(data), tuple(benign or ()), tuple(train or ()), peers, seed, limit, cache
    )
    result = run(request, settings, console)
    for note in result.notes:
        console.print(f"note: {escape(note)}", highlight=False, soft_wrap=True)
    for table in figures_tables(result.figures):
        Console().print(table)
    _write_rows(json_file, result.figures)
    if folder is not None:
        write_run(folder, request, result, settings.sha256())


def calibrate(
    sets: SetOption,
    benign: BenignOption,
    target_fpr: Annotated[float, typer.Option(help="Share of benign events that may raise an alert.")] = 0.01,
    write: Annotated[bool, typer.Option("--write", help="Apply the change to the files.")] = False,
    weights: Annotated[
        bool, typer.Option("--weights", help="Keep thresholds; move the bias or scale the weights instead.")
    ] = False,
    overridden: Annotated[
        bool, typer.Option("--overridden", help="Apply the config's changes to features; prints lines for the config.")
    ] = False,
    seed: SeedOption = 0,
    limit: LimitOption = None,
    config: ConfigOption = None,
) -> None:
    """Set thresholds from benign traffic; prints the change as a diff and applies it with --write."""
    with lab_extra():
        from monitor.lab.evaluation.calibrate import CalibrationRequest
        from monitor.lab.evaluation.calibrate import calibrate as run
    if not 0 < target_fpr < 0.5:
        raise ConfigError("--target-fpr: must be above 0 and below 0.5")
    if overridden and (write or weights):
        raise ConfigError("--overridden: the threshold belongs into the config; drop --write and --weights")
    settings = load_config(config, os.environ)
    console = Console(stderr=True)
    request = CalibrationRequest(tuple(sets), tuple(benign), target_fpr, weights, seed, limit, overridden)
    table = Table("set", "score", "threshold", "new", "FPR before", "FPR (95 % interval)", "n")
    calibrated = run(request, settings, console)
    for result in calibrated:
        low, high = result.interval_95
        table.add_row(
            result.loaded.set.id,
            result.unit,
            f"{result.before:.5g}",
            f"{result.threshold:.5g}",
            f"{result.measured_before:.2%}",
            f"{result.measured_fpr:.2%} ({low:.2%} to {high:.2%})",
            str(result.measured_n),
        )
        line = f"# feature_sets.overrides\n{result.loaded.set.id}: {{threshold: {result.threshold!r}}}\n"
        sys.stdout.write(line if overridden else result.diff())
    console.print(table)
    if write:
        for result in calibrated:
            result.write()
            path = result.loaded.path
            console.print(f"written: {escape(str(path))}", highlight=False, soft_wrap=True)
            if path.with_name("sets.lock").exists():
                console.print("note: sets.lock next to it has the old hash; give the set a new version and enter both")


def cases(
    sets: SomeSetsOption = None,
    folder: Annotated[
        Path | None, typer.Option("--cases", help="Folder with CATEGORY.jsonl files; default: the project's own.")
    ] = None,
    json_file: JsonOption = None,
    write: Annotated[bool, typer.Option("--write", help="Record the counts in cases.json next to the sets.")] = False,
    seed: SeedOption = 0,
    config: ConfigOption = None,
) -> None:
    """Run the regression cases through the sets as shipped; fails if a set does worse than recorded."""
    with lab_extra():
        from monitor.lab.data.chosen_sets import as_shipped, with_sets
        from monitor.lab.evaluation.case_record import RECORD_FILE, CaseRecord
        from monitor.lab.evaluation.cases import cases_table, judge_cases, sample_scores
        from monitor.lab.reading.row_reader import RowReader
    if write and folder is not None:
        raise ConfigError("--write: only the project's own cases are recorded; drop --cases")
    settings = load_config(config, os.environ)
    settings = as_shipped(with_sets(settings, sets) if sets else settings)
    reader = RowReader(settings, Console(stderr=True))
    figures = judge_cases(reader.artefacts.sets, reader.scores, folder, seed)
    sys.stdout.write(cases_table(figures) + "\n")
    _write_rows(json_file, figures)
    if folder is not None:
        return
    samples = sample_scores(reader.artefacts.sets, reader.scores)
    problems = []
    for record in dict.fromkeys(loaded.path.with_name(RECORD_FILE) for loaded in reader.artefacts.sets):
        here = {loaded.set.id for loaded in reader.artefacts.sets if loaded.path.parent == record.parent}
        judged = [f for f in figures if f.set_id in here]
        if write:
            # if all sets were judged, any other entry belongs to a set that is gone
            before = CaseRecord.load(record) if sets and record.exists() else CaseRecord({})
            before.with_figures(judged, samples).save(record)
            Console(stderr=True).print(f"written: {escape(str(record))}", highlight=False, soft_wrap=True)
        elif record.exists():
            before = CaseRecord.load(record)
            problems += before.steps_back(judged)
            problems += before.moved_scores({set_id: samples[set_id] for set_id in sorted(here)})
    sys.stderr.write("".join(f"error: {problem}\n" for problem in problems))
    if problems:
        raise typer.Exit(1)


def evasion(
    sets: SomeSetsOption = None,
    limit: Annotated[
        int, typer.Option(help="Most cases of each file, drawn with the seed; pairs stay whole.", min=1)
    ] = 40,
    json_file: JsonOption = None,
    seed: SeedOption = 0,
    config: ConfigOption = None,
) -> None:
    """Disguise the regression cases, for example in base64, and count how many the sets still find."""
    with lab_extra():
        from monitor.lab.data.chosen_sets import as_shipped, with_sets
        from monitor.lab.evaluation.evasion import evasion_table, judge_disguised
        from monitor.lab.reading.row_reader import RowReader
    settings = load_config(config, os.environ)
    settings = as_shipped(with_sets(settings, sets) if sets else settings)
    reader = RowReader(settings, Console(stderr=True))
    figures = judge_disguised(reader.artefacts.sets, reader.scores, limit, seed)
    sys.stdout.write(evasion_table(figures) + "\n")
    _write_rows(json_file, figures)


def planted(
    sets: SomeSetsOption = None,
    lengths: Annotated[
        str, typer.Option(help="Tokens of the texts, separated by commas.")
    ] = "100,250,500,1000,2000,4000",
    passage_tokens: Annotated[int, typer.Option(help="Most tokens of the risky passage.", min=1)] = 100,
    texts: Annotated[int, typer.Option(help="Texts of each kind for each set and length.", min=1)] = 40,
    json_file: JsonOption = None,
    seed: SeedOption = 0,
    config: ConfigOption = None,
) -> None:
    """Measure how recall falls with length: risky contrasts planted in long harmless texts."""
    with lab_extra():
        from monitor.lab.data.chosen_sets import with_sets
        from monitor.lab.evaluation.planted import PlantedRequest, planted_figures, planted_table
        from monitor.lab.reading.row_reader import RowReader
    settings = load_config(config, os.environ)
    settings = with_sets(settings, sets) if sets else settings
    request = PlantedRequest(whole_numbers(lengths, "--lengths"), passage_tokens, texts, seed)
    reader = RowReader(settings, Console(stderr=True))
    figures = planted_figures(reader.artefacts.sets, reader.scores, reader.token_counts, request)
    sys.stdout.write(planted_table(figures) + "\n")
    _write_rows(json_file, figures)


def languages(
    sets: SomeSetsOption = None,
    json_file: JsonOption = None,
    config: ConfigOption = None,
) -> None:
    """Measure sets on the same sentences in nine languages, also in those in which they abstain."""
    with lab_extra():
        from monitor.lab.data.chosen_sets import as_shipped, in_every_language, with_sets
        from monitor.lab.evaluation.languages import language_figures, language_table
        from monitor.lab.reading.row_reader import RowReader
    settings = load_config(config, os.environ)
    settings = in_every_language(as_shipped(with_sets(settings, sets) if sets else settings))
    reader = RowReader(settings, Console(stderr=True))
    figures = language_figures(reader.artefacts.sets, reader.scores, reader.table)
    sys.stdout.write(language_table(figures) + "\n")
    _write_rows(json_file, figures)


def reference(
    sets: Annotated[
        str, typer.Argument(metavar="FOLDER", help="Folder of the sets, as feature_sets.paths names it in the config.")
    ],
    measure: Annotated[
        bool, typer.Option("--measure", help="Print how far readers that differ in a known way are from them.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Store reference activations next to the SAE of sets; every reader must reproduce them at start."""
    with lab_extra():
        from monitor.lab.data.chosen_sets import as_shipped
        from monitor.lab.reading.reference import differences, read_reference
    settings = load_config(config, os.environ)
    paths = settings.feature_sets.changed(paths=(sets,))
    settings = as_shipped(settings.changed(feature_sets=paths))
    made = read_reference(settings)
    made.reference.save(made.path)
    info, found = made.reference.info, made.reference.activations
    text = (
        f"written: {made.path}: {found.lengths.size} texts, {found.tokens.size} tokens, "
        f"{found.values.size} activations of layer {info.layer}, for {', '.join(used.id for used in made.sets)}"
    )
    Console(stderr=True).print(escape(text), highlight=False, soft_wrap=True)
    if measure:
        sys.stdout.write("| Reader | Difference |\n|---|---|\n")
        for what, difference in differences(settings, made).items():
            sys.stdout.write(f"| {what} | {difference:.2g} |\n")


class _Row(Protocol):
    def row(self) -> dict[str, Any]: ...


def _write_rows(path: Path | None, figures: Sequence[_Row]) -> None:
    """Writes what `--json` asks for; nothing without a path."""
    if path is not None:
        write_file(path, json.dumps([f.row() for f in figures], indent=2) + "\n")
