"""Planted passages: how the texts are made, and what is counted, with a scorer that knows the answer."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from monitor.errors import ConfigError
from monitor.lab.data.chosen_sets import own_contrasts
from monitor.lab.data.rows import LabelledRow, load_rows
from monitor.lab.evaluation.planted import (
    Piece,
    PlantedFigures,
    PlantedRequest,
    paragraphs,
    planted,
    planted_figures,
    planted_table,
)
from monitor.sets.load import LoadedSet
from tests.feature_set_factory import make_weighted

REQUEST = PlantedRequest(lengths=(60, 300), passage_tokens=50, texts=5)


def a_set(category: str, **changes: object) -> LoadedSet:
    used = make_weighted(id=category, category=category, **changes)
    return LoadedSet(Path(f"{category}.yaml"), "0", used, used)


SETS = [a_set("bias"), a_set("deception")]


def words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def test_a_text_has_its_length_and_one_passage() -> None:
    draw = random.Random(1)  # noqa: S311
    harmless, risky = [Piece("plain words here now", 4)], [Piece("bad bad bad", 3)]
    for length in (3, 10, 97):
        text = planted(draw, harmless, risky, length, passage_tokens=7)
        assert text.count("bad bad bad\nbad bad bad") == 1
        assert sum(words(text)) == pytest.approx(max(length, 6), abs=2)
    assert paragraphs(draw, harmless, 0) == []
    assert planted(draw, harmless, [Piece("long", 9)], 9, passage_tokens=9) == ["long"]


def test_recall_and_false_positives_are_counted_apart() -> None:
    risky = [r.response or r.prompt for path in own_contrasts(SETS[0].set) for r in load_rows(path) if r.label]

    def score(rows: Sequence[LabelledRow], name: str) -> dict[str, np.ndarray]:
        bias = [1.0 if any(text in row.response for text in risky) else 0.0 for row in rows]
        return {"bias": np.array(bias), "deception": np.ones(len(rows))}

    figures = planted_figures(SETS, score, words, REQUEST)
    assert [(f.set_id, f.length, f.texts) for f in figures[:3]] == [
        ("bias", 60, 5),
        ("bias", 300, 5),
        ("deception", 60, 5),
    ]
    assert {(f.recall, f.fpr) for f in figures if f.set_id == "bias"} == {(1.0, 0.0)}
    assert {(f.recall, f.fpr) for f in figures if f.set_id == "deception"} == {(1.0, 1.0)}


def test_a_set_needs_passages_and_a_set_of_its_kind_to_plant_them_in() -> None:
    def score(rows: Sequence[LabelledRow], name: str) -> dict[str, np.ndarray]:
        raise AssertionError(name)

    with pytest.raises(ConfigError, match="bias: no other set to take harmless texts from"):
        planted_figures([SETS[0], a_set("backdoors", tags=["code"])], score, words, REQUEST)
    with pytest.raises(ConfigError, match="bias: no contrast has a risky text of at most 1 tokens"):
        planted_figures(SETS, score, words, PlantedRequest(passage_tokens=1))


def test_the_table() -> None:
    figures = [PlantedFigures("a", 100, 9, 0.5, 0.01), PlantedFigures("a", 4000, 9, 0.4, 0.0)]
    assert planted_table(figures).splitlines()[0::2] == ["| Set | 100 | 4,000 |", "| a | 0.50 (0.01) | 0.40 (0.00) |"]
    assert figures[0].row() == {"set": "a", "tokens": 100, "texts": 9, "recall": 0.5, "fpr": 0.01}
