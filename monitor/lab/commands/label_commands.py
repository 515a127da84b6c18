"""`lab label`: names for latents, and whether they hold up; imports the lab's libraries when it is called."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from monitor.config.load import load_config
from monitor.errors import ConfigError
from monitor.lab.commands.extra import lab_extra
from monitor.lab.commands.options import ConfigOption, LimitOption, Precision, SeedOption, whole_numbers

if TYPE_CHECKING:
    from monitor.lab.labelling.judging import Question, Verdict
    from monitor.lab.labelling.texts import LabelTexts
    from monitor.sets.load import LoadedSet

KEY_VARIABLE = "LATENTWATCH_JUDGE_API_KEY"
label_app = typer.Typer(help="Name the latents of a set, and measure the names.", no_args_is_help=True)

SetArgument = Annotated[str, typer.Argument(metavar="SET", help="Id of a set of the config, or its YAML file.")]
RowsOption = Annotated[list[Path], typer.Option("--rows", help="JSONL or Parquet file of labelled rows; repeatable.")]
HarmlessOption = Annotated[
    list[Path] | None, typer.Option("--benign", help="File of harmless rows or events, for rates; repeatable.")
]
OnlyOption = Annotated[str, typer.Option(help="Indices of latents, separated by commas; default: all of the set.")]
CacheOption = Annotated[Path | None, typer.Option(help="Folder that keeps activations between runs.")]
DtypeChoice = Annotated[Precision | None, typer.Option(help="Precision of the model.")]
ThreadsChoice = Annotated[int | None, typer.Option(help="CPU threads; 0 uses all available cores.", min=0)]


@label_app.command("export")
def export_sheets(
    set_name: SetArgument,
    rows: RowsOption,
    out: Annotated[Path, typer.Option("--out", help="New folder for sheets, pages and contexts kept back.")],
    benign: HarmlessOption = None,
    only: OnlyOption = "",
    each: Annotated[
        int, typer.Option(help="Contexts kept back to judge a label with, of each kind and answer.", min=1, max=200)
    ] = 10,
    seed: SeedOption = 0,
    limit: LimitOption = None,
    cache: CacheOption = None,
    dtype: DtypeChoice = None,
    threads: ThreadsChoice = None,
    config: ConfigOption = None,
) -> None:
    """Write a sheet for each latent of a set to name it from, and keep back contexts to judge the names with."""
    with lab_extra():
        from monitor.lab.labelling.export import write_export
        from monitor.lab.run_folder import new_run_folder
    console = Console(stderr=True)
    read = _texts(set_name, rows, benign, only, seed, limit, cache, dtype, threads, config, console, keep_back=True)
    folder = new_run_folder(out)
    with read:
        notes = write_export(folder, read, each)
    for note in notes:
        _say(console, f"note: {note}")
    _say(console, f"written: {folder / 'index.html'}")


@label_app.command("cards")
def write_feature_cards(
    set_name: SetArgument,
    rows: RowsOption,
    benign: HarmlessOption = None,
    only: Annotated[str, typer.Option(help="Indices of latents, separated by commas; default: those named.")] = "",
    seed: SeedOption = 0,
    limit: LimitOption = None,
    cache: CacheOption = None,
    dtype: DtypeChoice = None,
    threads: ThreadsChoice = None,
    config: ConfigOption = None,
) -> None:
    """Write the cards of a set's named latents next to it; the rows must be texts that anyone may see."""
    with lab_extra():
        from monitor.lab.labelling.cards import write_cards
    console = Console(stderr=True)
    if not only:
        loaded = _loaded(set_name, config)
        only = ",".join(str(feature.index) for feature in loaded.shipped.features if feature.named)
        if not only:
            raise ConfigError(f"{loaded.path}: no feature has a name that holds up; give --only, or name some first")
    read = _texts(set_name, rows, benign, only, seed, limit, cache, dtype, threads, config, console, keep_back=False)
    if read.hook.loaded is None:
        raise ConfigError(f"{set_name}: not a set")
    with read:
        path, count = write_cards(read.hook.loaded.path.parent, read)
    _say(console, f"written: {path}: {count} cards")


@label_app.command("import")
def import_names(
    set_name: SetArgument,
    labels: Annotated[
        Path | None, typer.Option(help="CSV or JSONL file with index, label, note and false_friends.")
    ] = None,
    neuronpedia: Annotated[
        list[Path] | None, typer.Option(help="Explanations that Neuronpedia exports, JSONL or JSONL.gz; repeatable.")
    ] = None,
    model_id: Annotated[
        str | None, typer.Option(help="With --neuronpedia: its id of the set's model, if that differs.")
    ] = None,
    explainer: Annotated[str | None, typer.Option(help="With --neuronpedia: only explanations by this model.")] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Also replace other names that latents already have.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Write names of a set's latents to latents.json next to it."""
    from monitor.lab.labelling.label_file import read_names
    from monitor.lab.labelling.names import add_names, labels_path
    from monitor.lab.labelling.neuronpedia import read_explanations

    if (labels is None) == (not neuronpedia):
        raise ConfigError("give either --labels or --neuronpedia")
    if labels is not None and (model_id is not None or explainer is not None):
        raise ConfigError("--model-id and --explainer go with --neuronpedia")
    console = Console(stderr=True)
    loaded = _loaded(set_name, config)
    if labels is not None:
        names = read_names(labels)
        known = set(loaded.shipped.indices())
        if outside := sorted(set(names) - known):
            raise ConfigError(f"{labels}: index: {outside[0]} is not a latent of {loaded.set.id}")
    else:
        found = read_explanations(neuronpedia or (), loaded.shipped.reader, model_id, explainer)
        names = found.names
        _say(console, f"{len(names)} explained latents; {found.others} further explanations left out")
        if found.shortened:
            _say(console, f"note: {found.shortened} long explanations are cut")
    done = add_names(loaded, names, replace or labels is not None)
    text = f"written: {labels_path(loaded)}: {done.named} of {done.of} latents of {loaded.set.id} got a name"
    _say(console, text + (f"; {done.kept} keep another one (see --replace)" if done.kept else ""))
    if done.unscored:
        _say(console, f"note: {done.unscored} of them count as unnamed until `lab label score` has measured them")
    _note_lock(console, loaded.path)


@label_app.command("score")
def score_names(
    set_name: SetArgument,
    held_back: Annotated[
        Path | None, typer.Option(help="File held_back.jsonl of `lab label export`; makes new questions.")
    ] = None,
    sheet: Annotated[Path | None, typer.Option(help="With --held-back: file for the questions, for judges.")] = None,
    verdicts: Annotated[
        list[Path] | None, typer.Option(help="JSONL file of verdicts with id and verdict (yes or no); repeatable.")
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="With --held-back: URL of an OpenAI-compatible server to ask, up to /v1.")
    ] = None,
    judge: Annotated[str | None, typer.Option(help="With --endpoint: the model to ask.")] = None,
    api_key_file: Annotated[
        Path | None, typer.Option(help=f"File with the key of the server; default: the variable {KEY_VARIABLE}.")
    ] = None,
    max_questions: Annotated[int, typer.Option(help="With --endpoint: most questions to ask.", min=1)] = 4_000,
    config: ConfigOption = None,
) -> None:
    """Measure the names of a set from verdicts on contexts that were kept back."""
    from monitor.lab.labelling import judging
    from monitor.lab.labelling.names import labels_path
    from monitor.sets.labels import load_labels

    if held_back is None and (sheet is not None or endpoint is not None):
        raise ConfigError("--sheet and --endpoint need --held-back")
    if (endpoint is None) != (judge is None):
        raise ConfigError("--endpoint and --judge go together")
    console = Console(stderr=True)
    loaded = _loaded(set_name, config)
    labels, _ = load_labels(labels_path(loaded))
    folder, name = loaded.path.parent / "labels", loaded.path.stem
    key_file, kept_file = folder / f"{name}.key.jsonl", folder / f"{name}.verdicts.jsonl"
    given = [verdict for path in verdicts or () for verdict in judging.load_verdicts(path)]
    if held_back is not None:
        wanted = {i: n for i, n in labels.names.items() if i in set(loaded.shipped.indices())}
        asked, key = judging.questions(held_back, wanted)
        if not asked:
            raise ConfigError(f"{held_back}: no latent in it has a name yet; import names first")
        judging.save_key(key_file, key)
        if sheet is not None:
            judging.save_sheet(sheet, asked)
            _say(console, f"written: {sheet}: {len(asked)} questions")
        if endpoint is not None and judge is not None:
            given += _asked(endpoint, judge, api_key_file, asked[:max_questions], console)
    if kept_file.is_file():
        given = [*judging.load_verdicts(kept_file), *given]
    if not given:
        if sheet is None:
            raise ConfigError(
                f"{kept_file}: no verdicts yet; give --verdicts, or --held-back with --sheet or --endpoint"
            )
        return
    given = judging.save_verdicts(kept_file, given)
    scores = judging.label_scores(judging.load_key(key_file), given, labels.names)
    if not scores:
        raise ConfigError("no verdict answers a question about a name that a latent has now")
    labels.with_names({i: labels.names[i].model_copy(update={"score": s}) for i, s in scores.items()}).save(
        labels_path(loaded)
    )
    table = Table("latent", "label", "detection", "95 % interval", "n", "fuzzing")
    for index, score in sorted(scores.items(), key=lambda item: -item[1].detection):
        low, high = score.interval_95
        fuzzing = "" if score.fuzzing is None else f"{score.fuzzing:.2f}"
        numbers = (f"{score.detection:.2f}", f"{low:.2f} to {high:.2f}", str(score.n), fuzzing)
        table.add_row(str(index), escape(labels.names[index].label), *numbers)
    Console().print(table)
    _say(console, f"written: {labels_path(loaded)}: {len(scores)} scores")
    _note_lock(console, loaded.path)


def _asked(url: str, model: str, key_file: Path | None, asked: list[Question], console: Console) -> list[Verdict]:
    from monitor.lab.labelling.endpoint import JudgeEndpoint
    from monitor.lab.reading.progress import row_progress

    server = JudgeEndpoint(url, model, _key(key_file))
    _say(console, f"note: {len(asked)} pieces of texts go to {url}")
    with row_progress(console) as progress:
        task = progress.add_task(f"asking {model}", total=len(asked))
        found = list(server.verdicts(asked, lambda count: progress.advance(task, count)))
    if len(found) < len(asked):
        _say(console, f"note: {len(asked) - len(found)} answers were neither yes nor no")
    return found


def _key(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get(KEY_VARIABLE)
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"--api-key-file {file}: cannot be read: {e}") from None


def _loaded(name: str, config: Path | None) -> LoadedSet:
    """The one set that `name` means."""
    from monitor.lab.data.chosen_sets import with_sets
    from monitor.sets.load import load_feature_sets

    found = load_feature_sets(with_sets(load_config(config, os.environ), [name]).feature_sets.paths)
    if len(found) != 1:
        raise ConfigError(f"{name}: names several sets ({', '.join(one.set.id for one in found)}); give one of them")
    return found[0]


def _texts(
    set_name: str,
    rows: list[Path],
    benign: list[Path] | None,
    only: str,
    seed: int,
    limit: int | None,
    cache: Path | None,
    dtype: Precision | None,
    threads: int | None,
    config: Path | None,
    console: Console,
    *,
    keep_back: bool,
) -> LabelTexts:
    with lab_extra():
        from monitor.lab.labelling.texts import LabelRequest, LabelTexts
        from monitor.lab.reading.hook import hook_of_set
    settings = load_config(config, os.environ)
    given = {"dtype": dtype and dtype.value, "threads": threads}
    changes = {key: value for key, value in given.items() if value is not None}
    settings = settings.changed(reader=settings.reader.changed(engine="torch", bundle=None, **changes))
    request = LabelRequest(
        rows=tuple(rows),
        benign=tuple(benign or ()),
        only=whole_numbers(only, "--only"),
        seed=seed,
        limit=limit,
        cache=cache,
        keep_back=keep_back,
    )
    return LabelTexts(request, hook_of_set(settings, set_name), settings, console)


def _say(console: Console, text: str) -> None:
    console.print(escape(text), highlight=False, soft_wrap=True)


def _note_lock(console: Console, path: Path) -> None:
    if path.with_name("sets.lock").exists():
        _say(console, "note: sets.lock next to it has old hashes; give the sets of the folder new versions")
