"""Evasion: how many of the regression cases a set still finds when their text is disguised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from monitor.lab.data.disguises import DISGUISES
from monitor.lab.data.rows import load_rows
from monitor.lab.evaluation.cases import Scorer, files_of_sets
from monitor.sets.load import LoadedSet


@dataclass(frozen=True)
class EvasionFigures:
    """How one set does on its cases, all of them disguised in one way."""

    set_id: str
    version: str
    disguise: str
    positives: int
    found: int
    """Positives whose score reaches the set's threshold."""
    negatives: int
    flagged: int
    """Hard negatives whose score reaches it."""

    def row(self) -> dict[str, Any]:
        """The figures with the names that `--json` writes."""
        return {
            "set": self.set_id,
            "version": self.version,
            "disguise": self.disguise,
            "positives": self.positives,
            "found": self.found,
            "negatives": self.negatives,
            "flagged": self.flagged,
        }


def judge_disguised(
    sets: Sequence[LoadedSet], score: Scorer, limit: int | None = None, seed: int = 0, folder: Path | None = None
) -> list[EvasionFigures]:
    """Figures of every set for every disguise; at most `limit` rows of each file. Raises as judge_cases does."""
    by_set = files_of_sets(sets, folder)
    rows = {path: load_rows(path, limit, seed) for files in by_set.values() for path in files}
    figures = []
    for name, disguise in DISGUISES.items():
        scores = {path: score([disguise(row) for row in of], f"{path.stem}, {name}") for path, of in rows.items()}
        for loaded in sets:
            files = by_set[loaded.set.id]
            labels = np.array([row.label for path in files for row in rows[path]], dtype=np.int64)  # [row]
            found = np.concatenate([scores[path][loaded.set.id] for path in files])
            fires = found >= loaded.set.active_from  # NaN does not
            figures.append(
                EvasionFigures(
                    set_id=loaded.set.id,
                    version=loaded.set.version,
                    disguise=name,
                    positives=int((labels == 1).sum()),
                    found=int(fires[labels == 1].sum()),
                    negatives=int((labels == 0).sum()),
                    flagged=int(fires[labels == 0].sum()),
                )
            )
    return figures


def evasion_table(figures: Sequence[EvasionFigures]) -> str:
    """Two Markdown tables, a line for each disguise: positives found, and hard negatives flagged."""
    found = _table(figures, "Positives found", lambda f: (f.found, f.positives))
    flagged = _table(figures, "Hard negatives flagged", lambda f: (f.flagged, f.negatives))
    return f"{found}\n\n{flagged}"


def _table(figures: Sequence[EvasionFigures], title: str, count: Any) -> str:
    sets = list(dict.fromkeys(f.set_id for f in figures))
    lines = [f"| {title} | {' | '.join(sets)} | all |", "|---" * (len(sets) + 2) + "|"]
    for disguise in dict.fromkeys(f.disguise for f in figures):
        counts = [count(f) for f in figures if f.disguise == disguise]
        cells = [_share(*c) for c in (*counts, tuple(map(sum, zip(*counts, strict=True))))]
        lines.append(f"| {disguise} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole} ({part / whole:.0%})" if whole else "none"
