"""Cases: the regression rows of a set, and how many of them the set gets right at its threshold."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from monitor.auroc import auroc
from monitor.errors import ConfigError
from monitor.lab.data.rows import LabelledRow, load_rows
from monitor.lab.statistics import Floats, bootstrap_interval, pair_win_rate
from monitor.sets.load import LoadedSet, builtin_folder

Scorer = Callable[[Sequence[LabelledRow], str], Mapping[str, Floats]]
"""Scores [row] by set id of rows with a name for the progress bar; NaN if a set sees nothing of a row."""

Sample = Mapping[str, float | None]
"""Scores by row id of a fixed sample of the cases of one set; None if the set sees nothing of a row."""

_SAMPLE_ROWS = 10
"""Of each label of a file."""
_SUFFIXES = ("", "_twins", "_languages")
_HEAD = (
    "| Set | Cases | Positives found | Hard negatives flagged | AUROC (95 % interval) | Pairs won |\n"
    "|---|---|---|---|---|---|"
)


@dataclass(frozen=True)
class CaseFigures:
    """How one set does on one file of cases, or on its rows in one language.

    AUROC compares positives with hard negatives; NaN if the rows all have the same label.
    """

    set_id: str
    version: str
    cases: str
    """Name of the file without its suffix, followed by `/` and the language for rows of one language."""
    positives: int
    found: int
    """Positives whose score reaches the set's threshold."""
    negatives: int
    flagged: int
    """Hard negatives whose score reaches the threshold."""
    auroc: float
    auroc_ci: tuple[float, float]
    pair_win_rate: float
    """Share of pairs whose positive scores higher; NaN if there are no pairs."""
    missed: tuple[str, ...]
    """Ids of the positives that were not found."""
    mistaken: tuple[str, ...]
    """Ids of the hard negatives that were flagged."""

    def row(self) -> dict[str, Any]:
        """The figures with the names that `--json` writes."""
        known = not math.isnan(self.auroc_ci[0])
        return {
            "set": self.set_id,
            "version": self.version,
            "cases": self.cases,
            "positives": self.positives,
            "found": self.found,
            "negatives": self.negatives,
            "flagged": self.flagged,
            "auroc": None if math.isnan(self.auroc) else round(self.auroc, 6),
            "auroc_ci": [round(end, 6) for end in self.auroc_ci] if known else None,
            "pair_win_rate": None if math.isnan(self.pair_win_rate) else round(self.pair_win_rate, 6),
            "missed": list(self.missed),
            "mistaken": list(self.mistaken),
        }


def case_files(category: str, folder: Path | None = None) -> tuple[Path, ...]:
    """Those of CATEGORY.jsonl, CATEGORY_twins.jsonl and CATEGORY_languages.jsonl that exist in `folder`.

    `folder` is feature_sets/cases by default.
    """
    folder = folder or builtin_folder() / "cases"
    paths = (folder / f"{category}{suffix}.jsonl" for suffix in _SUFFIXES)
    return tuple(path for path in paths if path.is_file())


def judge_cases(
    sets: Sequence[LoadedSet], score: Scorer, folder: Path | None = None, seed: int = 0
) -> list[CaseFigures]:
    """Figures of every set on the cases of its category, set by set; languages follow the file that they are in.

    Raises ConfigError if a set has no cases, or a row can't be used.
    """
    by_set = files_of_sets(sets, folder)
    rows = {path: load_rows(path) for files in by_set.values() for path in files}
    scores = {path: score(of, path.name) for path, of in rows.items()}
    figures = []
    for loaded in sets:
        for path in by_set[loaded.set.id]:
            of, found = rows[path], scores[path][loaded.set.id]
            figures.append(_figures(loaded, path.stem, of, found, seed))
            for language in sorted({row.language for row in of if row.language}):
                chosen = [n for n, row in enumerate(of) if row.language == language]
                name = f"{path.stem}/{language}"
                figures.append(_figures(loaded, name, [of[n] for n in chosen], found[chosen], seed))
    return figures


def sampled(rows: Sequence[LabelledRow]) -> list[LabelledRow]:
    """A fixed sample of the rows of a file: up to ten of each label, chosen by the hashes of their ids."""
    by_hash = sorted(rows, key=lambda row: hashlib.sha256(row.id.encode()).digest())
    chosen = {row.id for label in (0, 1) for row in [r for r in by_hash if r.label == label][:_SAMPLE_ROWS]}
    return [row for row in rows if row.id in chosen]


def sample_scores(sets: Sequence[LoadedSet], score: Scorer, folder: Path | None = None) -> dict[str, Sample]:
    """Scores of samples of all files of each set's category, by set id. Raises as judge_cases does."""
    by_set = files_of_sets(sets, folder)
    rows = {path: sampled(load_rows(path)) for files in by_set.values() for path in files}
    scores = {path: score(of, path.name) for path, of in rows.items()}
    return {
        set_id: {
            row.id: None if np.isnan(value) else float(value)
            for path in files
            for row, value in zip(rows[path], scores[path][set_id], strict=True)
        }
        for set_id, files in by_set.items()
    }


def files_of_sets(sets: Sequence[LoadedSet], folder: Path | None = None) -> dict[str, tuple[Path, ...]]:
    """The case files of every set, by set id. Raises ConfigError with every set that has none."""
    by_set = {loaded.set.id: case_files(loaded.set.category, folder) for loaded in sets}
    if problems := [
        f"{folder or builtin_folder() / 'cases'}: no {loaded.set.category}.jsonl, which set {loaded.set.id} needs"
        for loaded in sets
        if not by_set[loaded.set.id]
    ]:
        raise ConfigError(problems)
    return by_set


def cases_table(figures: Sequence[CaseFigures]) -> str:
    """The figures as Markdown."""
    return "\n".join([_HEAD, *(_line(f) for f in figures)])


def _line(f: CaseFigures) -> str:
    area = "" if math.isnan(f.auroc) else f"{f.auroc:.2f}"
    if not math.isnan(f.auroc_ci[0]):
        area += f" ({f.auroc_ci[0]:.2f} to {f.auroc_ci[1]:.2f})"
    won = "" if math.isnan(f.pair_win_rate) else f"{f.pair_win_rate:.2f}"
    return f"| {f.set_id} | {f.cases} | {f.found} of {f.positives} | {f.flagged} of {f.negatives} | {area} | {won} |"


def _figures(loaded: LoadedSet, name: str, rows: Sequence[LabelledRow], scores: Floats, seed: int) -> CaseFigures:
    fires = scores >= loaded.set.active_from  # [row]; NaN does not
    labels = np.array([row.label for row in rows], dtype=np.int64)
    seen = scores[~np.isnan(scores)]
    ranked = np.where(
        np.isnan(scores), seen.min(initial=0.0) - 1, scores
    )  # rows that the set does not see rank below all others
    positive, negative = ranked[labels == 1], ranked[labels == 0]
    interval = (math.nan, math.nan)
    if positive.size and negative.size:
        interval = bootstrap_interval(auroc, ranked, labels, [row.cluster for row in rows], seed=seed)
    return CaseFigures(
        set_id=loaded.set.id,
        version=loaded.set.version,
        cases=name,
        positives=int(positive.size),
        found=int(fires[labels == 1].sum()),
        negatives=int(negative.size),
        flagged=int(fires[labels == 0].sum()),
        auroc=auroc(positive, negative),
        auroc_ci=interval,
        pair_win_rate=pair_win_rate(ranked, labels, [row.pair for row in rows]),
        missed=tuple(row.id for row, fired in zip(rows, fires, strict=True) if row.label == 1 and not fired),
        mistaken=tuple(row.id for row, fired in zip(rows, fires, strict=True) if row.label == 0 and fired),
    )
