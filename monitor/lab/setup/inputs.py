"""Inputs: model, SAE and rows of a working folder, checked before any work is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from transformers import AutoConfig

from detectors.feature_set import ReaderRef
from monitor.config.sections import Config
from monitor.errors import ConfigError
from monitor.lab.data.rows import LabelledRow, load_benign, load_rows
from monitor.lab.evaluation.calibrate import needed_events
from monitor.lab.labelling.neuronpedia import read_explanations
from monitor.lab.reading.hook import hook_of_sae
from monitor.lab.setup.answers import Answers
from monitor.lab.setup.row_split import RowSplit, split_rows
from monitor.sae.belonging import other_width
from monitor.sae.sae_format import open_sae


@dataclass(frozen=True)
class Inputs:
    """What the working folder is made from."""

    answers: Answers
    """With the layer, even if only the SAE's files say it. Without `fit` if FVU and loss can't be measured, because the
    SAE has no decoder or doesn't read the output of a block."""
    reader: ReaderRef
    split: RowSplit


def checked_inputs(answers: Answers, config: Config) -> Inputs:
    """Reads and checks everything. Raises ConfigError with all problems, so that none shows up after an hour's work."""
    problems: list[str] = []
    reader: ReaderRef | None = None
    split: RowSplit | None = None
    with _collecting(problems):
        answers, reader = _reader(answers, config)
    with _collecting(problems):
        split = _split(answers, config)
    if reader is not None and answers.neuronpedia:
        with _collecting(problems):
            read_explanations(answers.neuronpedia, reader, answers.model_id)
    if problems or reader is None or split is None:
        raise ConfigError(problems)
    return Inputs(answers, reader, split)


def _reader(answers: Answers, config: Config) -> tuple[Answers, ReaderRef]:
    sae = open_sae(answers.sae)
    layer = answers.layer
    if layer is None:
        hook = None if sae.origin is None or sae.origin.hook is None else sae.origin.hook.read_as
        if hook is None:
            raise ConfigError(f"--layer: missing; the files of {answers.sae} don't say which block it reads")
        layer = hook.layer
    settings = config.changed(reader=config.reader.changed(model=answers.model, engine="torch", bundle=None))
    found = hook_of_sae(settings, answers.sae, layer, answers.max_norm or None)
    try:
        text = AutoConfig.from_pretrained(found.model.folder, local_files_only=True).get_text_config()
    except (OSError, ValueError, TypeError, KeyError) as e:
        reason = " ".join(str(e).split())
        raise ConfigError(f"--model {answers.model}: config.json can't be used: {reason}") from None
    _ = found.model.tokenizer_file
    if sae.d_in != text.hidden_size:
        raise ConfigError(f"--sae {answers.sae}: {other_width(sae.d_in, text.hidden_size).partition(': ')[2]}")
    if layer >= text.num_hidden_layers:
        raise ConfigError(f"--layer {layer}: the model has blocks 0 to {text.num_hidden_layers - 1}")
    measurable = found.reader.hook == "resid_post" and sae.w_dec is not None and not sae.transcoder
    return answers.model_copy(update={"layer": layer, "fit": answers.fit and measurable}), found.reader


def _split(answers: Answers, config: Config) -> RowSplit:
    problems: list[str] = []
    data: dict[str, dict[Path, Sequence[LabelledRow]]] = {}
    for category, files in answers.data.items():
        data[category] = {}
        for path in dict.fromkeys(files):
            with _collecting(problems):
                rows = data[category][path] = load_rows(path, answers.limit, answers.seed)
                problems += [f"{path}: label: {problem}" for problem in _label_problems(rows)]
    benign: list[LabelledRow] = []
    for path in dict.fromkeys(answers.benign):
        with _collecting(problems):
            benign += load_benign(path, answers.limit, answers.seed, config.events.limits, config.events.body_format())
    if problems:
        raise ConfigError(problems)
    split = split_rows(data, benign, answers.seed)
    needed = needed_events(answers.target_fpr)
    if len(split.benign_calibrate) < needed:
        problems.append(
            f"--benign: {len(benign)} rows, of which half set the thresholds; a false-positive rate of "
            f"{answers.target_fpr:.3%} needs {2 * needed} in all; give more, or a higher --target-fpr"
        )
    for part in (split.curate, split.judge):
        problems += [
            f"--data {category}: {name}: too few rows; each half needs some of label 1 and some of label 0"
            for category, files in part.items()
            for name, rows in files.items()
            if {row.label for row in rows} != {0, 1}
        ]
    if problems:
        raise ConfigError(dict.fromkeys(problems))
    return split


def _label_problems(rows: Sequence[LabelledRow]) -> list[str]:
    labels = {row.label for row in rows}
    return [
        f"no row has label {label}; a labelled file needs risky rows (1) and harmless ones that look similar (0)"
        for label in (1, 0)
        if label not in labels
    ]


@contextmanager
def _collecting(problems: list[str]) -> Iterator[None]:
    """Adds the problems of a ConfigError to `problems` instead of raising it."""
    try:
        yield
    except ConfigError as e:
        problems.extend(e.problems)
