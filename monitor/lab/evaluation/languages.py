"""Languages: what a set and its named features do with the same sentences in other languages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.auroc import auroc
from monitor.errors import ConfigError
from monitor.lab.data.rows import LabelledRow, load_rows
from monitor.lab.evaluation.cases import Scorer
from monitor.lab.reading.segment_table import SegmentTable
from monitor.sets.load import LoadedSet, builtin_folder

BASE = "en"
BENIGN = "benign.jsonl"
ENGLISH_TEXTS = 3
"""A feature counts if it is active on so many of the English positives."""
FIRES = 0.5
"""It fires in a language if it is active on this share of the translations of the sentences that it is active on."""
Tables = Callable[[Sequence[LabelledRow], str], SegmentTable]


@dataclass(frozen=True)
class LanguageFigures:
    """What one set does in one language."""

    set_id: str
    language: str
    features: int
    """Named features that are active on enough of the English positives."""
    firing: int
    """Of these, those that fire on the translations."""
    auroc: float
    """Of the positives against their harmless twins."""
    positives: int
    found: int
    """Positives whose score reaches the set's threshold."""
    harmless: int
    flagged: int
    """Harmless twins and everyday texts whose score reaches it."""
    scores_it: bool
    """Whether the set scores this language at all, or abstains."""

    def row(self) -> dict[str, Any]:
        """The figures with the names that `--json` writes."""
        return {
            "set": self.set_id,
            "language": self.language,
            "scored": self.scores_it,
            "features": self.features,
            "firing": self.firing,
            "auroc": round(self.auroc, 4),
            "positives": self.positives,
            "found": self.found,
            "harmless": self.harmless,
            "flagged": self.flagged,
        }


def language_figures(
    sets: Sequence[LoadedSet], score: Scorer, read: Tables, folder: Path | None = None
) -> list[LanguageFigures]:
    """Figures of every set that has a file of parallel rows, CATEGORY.jsonl in `folder` (default: the shipped ones).

    `score` must score every language. Raises ConfigError if no set has a file, or a row does not name its language.
    """
    folder = folder or builtin_folder() / "languages"
    files = {loaded.set.id: folder / f"{loaded.set.category}.jsonl" for loaded in sets}
    if not any(path.is_file() for path in files.values()):
        raise ConfigError(f"{folder}: has no rows for the sets {', '.join(files)}")
    benign = _rows(folder / BENIGN) if (folder / BENIGN).is_file() else []
    harmless = score(benign, BENIGN) if benign else {}
    figures: list[LanguageFigures] = []
    for loaded in sets:
        path = files[loaded.set.id]
        if path.is_file():
            rows = _rows(path)
            fired = _active(loaded, rows, read(rows, path.name))
            everyday = harmless.get(loaded.set.id, np.empty(0))
            figures += _of_set(loaded, rows, score(rows, path.name)[loaded.set.id], fired, benign, everyday)
    return figures


def language_table(figures: Sequence[LanguageFigures]) -> str:
    """A Markdown table, a line for each set and language."""
    lines = [
        "| Set | Language | Named features that fire | AUROC | Positives found | Harmless texts flagged | Scored |",
        "|---|---|---|---|---|---|---|",
    ]
    for f in figures:
        counts = f"{f.found} of {f.positives} | {f.flagged} of {f.harmless}"
        scored = "yes" if f.scores_it else "abstains"
        lines.append(
            f"| {f.set_id} | {f.language} | {f.firing} of {f.features} | {f.auroc:.2f} | {counts} | {scored} |"
        )
    return "\n".join(lines)


def _rows(path: Path) -> list[LabelledRow]:
    rows = load_rows(path)
    for row in rows:
        if row.language is None or row.parallel is None:
            raise ConfigError(f"{path}: row {row.id}: needs `language` and `parallel`, the id of the row it translates")
    return rows


def _active(loaded: LoadedSet, rows: Sequence[LabelledRow], table: SegmentTable) -> NDArray[np.bool_]:
    """Whether each named feature is active in a segment that the set looks at: [row, feature]."""
    named = [feature.index for feature in loaded.set.features if feature.named]
    active = np.zeros((len(rows), len(named)), dtype=bool)
    seen = np.isin(table.segment, list(loaded.set.segments))
    np.logical_or.at(active, table.row[seen], table.latents[seen][:, named] > 0)
    return active


def _of_set(
    loaded: LoadedSet,
    rows: Sequence[LabelledRow],
    scores: NDArray[np.float64],
    active: NDArray[np.bool_],
    benign: Sequence[LabelledRow],
    everyday: NDArray[np.float64],
) -> list[LanguageFigures]:
    languages = list(dict.fromkeys(row.language or "" for row in rows))
    places: dict[str, Mapping[str, int]] = {  # positions of positives by the row that they translate
        language: {r.parallel or "": n for n, r in enumerate(rows) if r.language == language and r.label == 1}
        for language in languages
    }
    base = places.get(BASE, {})
    figures = []
    for language in languages:
        shared = [key for key in base if key in places[language]]
        english = active[[base[key] for key in shared]]  # [sentence, feature]
        here = active[[places[language][key] for key in shared]]
        counted = english.sum(axis=0) >= ENGLISH_TEXTS
        kept = (english & here).sum(axis=0)[counted] / english.sum(axis=0)[counted]
        labels = np.array([row.label if row.language == language else -1 for row in rows])
        plain = everyday[[n for n, row in enumerate(benign) if row.language == language]] if benign else everyday
        positive, twins = scores[labels == 1], scores[labels == 0]
        threshold = loaded.set.active_from
        figures.append(
            LanguageFigures(
                set_id=loaded.set.id,
                language=language,
                features=int(counted.sum()),
                firing=int((kept >= FIRES).sum()),
                auroc=auroc(positive, twins),
                positives=positive.size,
                found=int((positive >= threshold).sum()),
                harmless=twins.size + plain.size,
                flagged=int((twins >= threshold).sum() + (plain >= threshold).sum()),
                scores_it=loaded.shipped.languages is None or language in loaded.shipped.languages,
            )
        )
    return figures
