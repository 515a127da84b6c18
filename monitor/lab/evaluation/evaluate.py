"""Evaluate: scores labelled files with sets and with the detectors that they are compared with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape

from detectors.feature_set import FeatureSet
from monitor.config.sections import Config
from monitor.errors import ConfigError
from monitor.lab.data.chosen_sets import own_contrasts, with_sets
from monitor.lab.data.rows import LabelledRow, load_benign, load_rows
from monitor.lab.evaluation.comparison import Figures, JudgedFile, measure
from monitor.lab.fit.contenders import Contender, Floats, Missing, fitted
from monitor.lab.fit.peers import Peers
from monitor.lab.fit.workbench import Texts, Training
from monitor.lab.reading.row_reader import RowReader
from monitor.lab.reading.segment_table import SegmentTable
from monitor.sets.load import LoadedSet, builtin_folder

SHIPPED = "shipped"
"""The name in reports of the set itself, with its own weights, pooling and threshold."""


@dataclass(frozen=True)
class EvaluationRequest:
    """What to evaluate, and how."""

    sets: tuple[str, ...]
    data: tuple[Path, ...]
    benign: tuple[Path, ...] = ()
    train: tuple[Path, ...] = ()
    """If empty, each set's contenders are fitted on the project's own contrasts of its category."""
    peers: bool = True
    seed: int = 0
    limit: int | None = None
    """Most rows of each file, drawn with `seed`; pairs stay whole. Training rows are never limited, because the
    fitted detectors would then look worse than they are."""
    cache: Path | None = None


@dataclass(frozen=True)
class DetectorScores:
    """One detector's scores [row] on one file and on the benign rows; NaN if it sees nothing of a row."""

    file: JudgedFile
    detector: str
    detail: str
    scores: Floats
    benign: Floats
    threshold: float | None


@dataclass(frozen=True)
class EvaluationResult:
    """Figures in the order of sets, files and detectors, and notes that anyone who reads them needs."""

    sets: tuple[LoadedSet, ...]
    figures: list[Figures]
    detector_scores: list[DetectorScores]
    notes: list[str]
    rows: dict[str, int] = field(default_factory=dict)
    """How many rows of each file were used."""


def evaluate(request: EvaluationRequest, config: Config, console: Console) -> EvaluationResult:
    """Scores the files. Raises ConfigError if a set, a file or a row can't be used; nothing is skipped silently."""
    config = with_sets(config, request.sets)
    data = {path: _rows(path, request) for path in dict.fromkeys(request.data)}
    limits = config.events.limits
    benign = [
        row
        for path in dict.fromkeys(request.benign)
        for row in _not_empty(path, load_benign(path, request.limit, request.seed, limits, config.events.body_format()))
    ]
    evaluator = _Evaluator(request, RowReader(config, console, request.cache), data, benign)
    detector_scores = list(evaluator.detector_scores())
    figures = []
    for done in detector_scores:
        with console.status(f"figures of {done.detector} on {escape(done.file.file)}"):
            figures.append(
                measure(done.file, done.detector, done.detail, done.scores, done.benign, done.threshold, request.seed)
            )
    counts = {str(path): len(rows) for path, rows in data.items()} | {"benign": len(benign)}
    return EvaluationResult(evaluator.reader.artefacts.sets, figures, detector_scores, evaluator.notes, counts)


class _Evaluator:
    """Reads every text once and scores it with all detectors of all sets."""

    def __init__(
        self,
        request: EvaluationRequest,
        reader: RowReader,
        data: dict[Path, list[LabelledRow]],
        benign: list[LabelledRow],
    ) -> None:
        self.reader = reader
        self.notes: list[str] = []
        self._request = request
        self._data = data
        self._benign = benign
        self._peers = Peers() if request.peers else None
        self._train: dict[Path, tuple[list[LabelledRow], SegmentTable] | None] = {}

    def detector_scores(self) -> Iterator[DetectorScores]:
        """The scores of every detector on every file, set by set."""
        engine = {path: self.reader.scores(rows, path.name) for path, rows in self._data.items()}
        engine_benign = self.reader.scores(self._benign, "benign rows")
        tables = {path: self.reader.table(rows, path.name) for path, rows in self._data.items()}
        benign_table = self.reader.table(self._benign, "benign rows") if self._benign else None
        for loaded in self.reader.artefacts.sets:
            used = loaded.set
            prior = used.pooling.prior_tokens
            contenders = self._contenders(loaded)
            benign = Texts.of(self._benign, benign_table, prior) if benign_table is not None else None
            benign_scores = [_by_row(c, benign, used) for c in contenders]
            self._note_unseen("benign", used.id, engine_benign[used.id])
            for path, rows in self._data.items():
                texts = Texts.of(rows, tables[path], prior)
                file = JudgedFile(used.id, str(path), rows, _lengths(texts, used.segments))
                scores = engine[path][used.id]
                self._note_unseen(path.name, used.id, scores)
                self._note_fitted_on(path, loaded)
                detail = f"{used.detector} detector over {len(used.features)} latents, version {used.version}"
                yield DetectorScores(file, SHIPPED, detail, scores, engine_benign[used.id], used.active_from)
                for contender, harmless in zip(contenders, benign_scores, strict=True):
                    by_row = _by_row(contender, texts, used)
                    yield DetectorScores(file, contender.name, contender.detail, by_row, harmless, None)

    def _contenders(self, loaded: LoadedSet) -> list[Contender]:
        training = self._training(loaded)
        found: list[Contender | Missing] = []
        if training is not None:
            found += fitted(loaded.set, training)
        if self._peers is not None:
            found += self._peers.fitted(loaded.set, training)
        for missing in found:
            if isinstance(missing, Missing):
                self._note(f"{loaded.set.id}: {missing.name} is missing from the comparison: {missing.reason}")
        return [c for c in found if not isinstance(c, Missing)]

    def _training(self, loaded: LoadedSet) -> Training | None:
        files = self._request.train or own_contrasts(loaded.set)
        fitted_ones = f"{loaded.set.id}: the fitted detectors are missing from the comparison:"
        if not files:
            self._note(f"{fitted_ones} no contrasts of category {loaded.set.category}; give --train")
            return None
        read = [part for path in dict.fromkeys(files) if (part := self._read_train(path)) is not None]
        texts = [Texts.of(rows, table, loaded.set.pooling.prior_tokens) for rows, table in read]
        groups = [(t, t.labelled(label), label, 1.0) for t in texts for label in (1, 0)]
        groups = [g for g in groups if g[1]]
        if {label for _, _, label, _ in groups} != {0, 1}:
            self._note(f"{fitted_ones} the remaining training rows don't have both labels; give --train")
            return None
        return Training(groups)

    def _read_train(self, path: Path) -> tuple[list[LabelledRow], SegmentTable] | None:
        """The training rows of a file that are not evaluated on, with their table; None if there are none."""
        if path not in self._train:
            rows = _not_empty(path, load_rows(path))
            judged = {_identity(row) for judged_rows in (*self._data.values(), self._benign) for row in judged_rows}
            dropped = {row.cluster for row in rows if _identity(row) in judged}
            kept = [row for row in rows if row.cluster not in dropped]
            if len(kept) < len(rows):
                count = len(rows) - len(kept)
                self._note(f"{path.name}: {count} training rows dropped, because they or their twins are evaluated on")
                if path.parent == builtin_folder() / "contrasts":
                    self._note(
                        f"{path.stem}: the shipped weights were fitted on rows judged here; their figures are too good"
                    )
            self._train[path] = (kept, self.reader.table(kept, path.name)) if kept else None
        return self._train[path]

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _note_unseen(self, name: str, set_id: str, scores: Floats) -> None:
        unseen = int(np.isnan(scores).sum())
        if unseen:
            counted = "are not counted" if name == "benign" else "rank below all others"
            self._note(
                f"{set_id}: {unseen} of {scores.size} rows of {name} have no text that the set looks at; they {counted}"
            )

    def _note_fitted_on(self, path: Path, loaded: LoadedSet) -> None:
        is_own = path.resolve() in [own.resolve() for own in own_contrasts(loaded.set)]
        if is_own or path.stem in loaded.set.metrics:
            self._note(
                f"{loaded.set.id}: its weights were also fitted on {path.stem}; the figures of {SHIPPED} are too good"
            )


def _rows(path: Path, request: EvaluationRequest) -> list[LabelledRow]:
    return _not_empty(path, load_rows(path, request.limit, request.seed))


def _not_empty(path: Path, rows: list[LabelledRow]) -> list[LabelledRow]:
    if not rows:
        raise ConfigError(f"{path}: no rows")
    return rows


def _identity(row: LabelledRow) -> str:
    """The row's texts, ignoring case and white space."""
    return " ".join("\x00".join([*(turn.content for turn in row.turns), row.response]).casefold().split())


def _lengths(texts: Texts, segments: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """[row] The number of tokens that a set with these segments looks at."""
    return np.array([texts.table.tokens[entries].sum() for entries in texts.seen(tuple(segments))], dtype=np.int64)


def _by_row(contender: Contender, texts: Texts | None, used: FeatureSet) -> Floats:
    """The contender's score [row], combined over segments as in the set; NaN if the set sees nothing of a row."""
    if texts is None:
        return np.zeros(0)
    by_entry = contender.scores(texts)
    rows = texts.seen(used.segments)
    return np.array(
        [texts.combined(entries, by_entry, used.combine_segments) if entries else np.nan for entries in rows]
    )
