"""Languages: which features fire on translations, and what is counted at the set's threshold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from monitor.errors import ConfigError
from monitor.lab.data.rows import LabelledRow
from monitor.lab.evaluation.languages import language_figures, language_table
from monitor.lab.reading.segment_table import SegmentTable
from monitor.lab.statistics import Floats
from monitor.sets.load import LoadedSet
from tests.feature_set_factory import make_weighted

FEATURES = [
    {"index": 0, "label": "everywhere", "weight": 1.0, "label_score": 0.8},
    {"index": 1, "label": "English only", "weight": 1.0, "label_score": 0.8},
    {"index": 2, "label": "on one sentence", "weight": 1.0, "label_score": 0.8},
    {"index": 3, "label": "unnamed", "weight": 1.0, "label_score": 0.6},
]
USED = make_weighted(id="bias", category="bias", threshold=0.5, features=FEATURES, languages=("en",))


def write(path: Path, rows: Sequence[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def parallel(language: str, number: int, label: int) -> dict[str, object]:
    text = {1: "hate", 0: "calm"}[label]
    base = f"{text}-{number}"
    return {"id": f"{base}-{language}", "response": f"{text} {number} {language}", "label": label} | {
        "language": language,
        "parallel": base,
    }


def table(rows: Sequence[LabelledRow], _name: str) -> SegmentTable:
    latents = np.zeros((len(rows), 4), np.float16)
    for n, row in enumerate(rows):
        *_, language = row.response.split()
        latents[n] = [1, language == "en", row.id == "hate-0-en", 1]
    size = len(rows)
    return SegmentTable(
        row=np.arange(size),
        segment=np.array(["response"] * size),
        turn=np.ones(size, np.int64),
        tokens=np.full(size, 3, np.int32),
        latents=latents,
        residual=np.zeros((size, 2), np.float32),
    )


def score(rows: Sequence[LabelledRow], _name: str) -> dict[str, Floats]:
    """Finds hate in English, and everything in French."""
    return {"bias": np.array([0.9 if r.language == "fr" or r.response.startswith("hate") else 0.1 for r in rows])}


def test_features_that_fire_on_translations_are_counted(tmp_path: Path) -> None:
    write(
        tmp_path / "bias.jsonl",
        [parallel(language, n, label) for language in ("en", "fr") for n in range(4) for label in (1, 0)],
    )
    write(tmp_path / "benign.jsonl", [parallel(language, 9, 0) for language in ("en", "fr")])
    figures = language_figures([LoadedSet(Path("bias.yaml"), "0" * 64, USED, USED)], score, table, tmp_path)
    english, french = figures
    assert (english.features, english.firing) == (2, 2)
    assert (french.features, french.firing) == (2, 1)
    assert (english.auroc, english.found, english.flagged, english.scores_it) == (1.0, 4, 0, True)
    assert (french.auroc, french.found, french.flagged, french.harmless, french.scores_it) == (0.5, 4, 5, 5, False)
    assert "| bias | fr | 1 of 2 | 0.50 | 4 of 4 | 5 of 5 | abstains |" in language_table(figures)
    assert french.row()["flagged"] == 5


def test_rows_that_name_no_language_and_sets_without_rows_are_refused(tmp_path: Path) -> None:
    loaded = [LoadedSet(Path("bias.yaml"), "0" * 64, USED, USED)]
    with pytest.raises(ConfigError, match="has no rows for the sets bias"):
        language_figures(loaded, score, table, tmp_path)
    write(tmp_path / "bias.jsonl", [{"id": "a", "response": "x", "label": 1, "language": "en"}])
    with pytest.raises(ConfigError, match=r"bias\.jsonl: row a: needs `language` and `parallel`"):
        language_figures(loaded, score, table, tmp_path)
