"""Texts: which entries of a row count, and their texts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from detectors.matching import Matcher, SegmentActivations
from monitor.lab.data.recipe import Recipes
from monitor.lab.data.rows import LabelledRow, Turn
from monitor.lab.fit.make_sets import hard_negatives
from monitor.lab.fit.workbench import Texts, Workbench, joined, row_scores
from monitor.lab.reading.segment_table import SegmentTable
from tests.feature_set_factory import make_weighted
from tests.lab.tables import recipes_data, texts_of

ONE = [{"index": 3, "label": "one", "weight": 1.0}]
ROWS = [
    LabelledRow(id="a", prompt="asked", response="said", label=1, label_of="prompt"),
    LabelledRow(
        id="b", messages=(Turn(role="user", content="one"), Turn(role="user", content="two")), response="three", label=0
    ),
    LabelledRow(id="c", prompt="alone", label=0),
]
TABLE = SegmentTable(
    row=np.array([0, 0, 1, 1, 1, 2]),
    segment=np.array(["user", "response", "user", "user", "response", "user"]),
    turn=np.array([0, 1, 0, 1, 2, 0]),
    tokens=np.full(6, 4, np.int32),
    latents=np.ones((6, 2), np.float16),
    residual=np.ones((6, 3), np.float32),
)
TEXTS = Texts.of(ROWS, TABLE, prior_tokens=4)


def recipes(**changes: Any) -> Recipes:
    """One set on chat, with harmless chat and code to fit on."""
    return Recipes.model_validate(recipes_data(**changes))


def rows_of(label: int, count: int) -> Texts:
    rows = [LabelledRow.model_validate({"id": str(n), "response": "r", "label": label}) for n in range(count)]
    return texts_of(rows, np.zeros((count, 0)), np.zeros((count, 3)))


def test_every_entry_has_the_text_of_its_turn() -> None:
    assert TEXTS.texts() == ["asked", "said", "one", "two", "three", "alone"]


def test_a_set_sees_only_its_segments() -> None:
    assert TEXTS.seen(("response",)) == [[1], [4], []]
    assert TEXTS.judged(("response",)) == [[1], [4], [5]]
    assert TEXTS.seen(("user",)) == [[0], [2, 3], [5]]
    assert TEXTS.harmless(("response",)) == [4, 5]


def test_the_labelled_entries() -> None:
    assert TEXTS.labelled(1) == [0]
    assert TEXTS.labelled(0) == [4, 5]


def test_the_lab_puts_segments_together_as_the_detectors_do() -> None:
    logits = np.array([2.0, -1.0, 0.5, 3.0, -2.0, 4.0])
    for rule, expected in (("max", [2.0, 3.0, 4.0]), ("mean", [0.5, 0.5, 4.0])):
        used = make_weighted(segments=["user", "response"], combine_segments=rule, features=ONE, bias=0.0)
        matcher = Matcher(used)
        for row, entries in enumerate(TEXTS.entries):
            assert TEXTS.combined(entries, logits, used.combine_segments) == pytest.approx(expected[row])
            segments = [
                SegmentActivations(str(TABLE.segment[e]), n, np.array([[logits[e]]], np.float32))
                for n, e in enumerate(entries)
            ]
            best = matcher.best(segments)
            assert best is not None
            assert best[1].value == pytest.approx(1 / (1 + math.exp(-expected[row])))


def test_prior_tokens_shrink_the_means() -> None:
    assert TEXTS.x == pytest.approx(0.5)


def test_harmless_texts_count_as_many_sources_as_the_recipe_says() -> None:
    made = recipes(benign_share=3.0)
    risky, chat, code = (rows_of(label, 20) for label in (1, 0, 0))
    bench = Workbench(made, {"a": risky}, [(made.benign[0], chat), (made.benign[1], code)])
    data = bench.training(made.sets[0], None)
    assert data.y.tolist() == [1] * 20 + [0] * 40
    by_group = data.weights.reshape(3, 20).sum(axis=1)
    assert by_group[0] == pytest.approx(by_group[1] + by_group[2]), "the two sides weigh the same"
    assert by_group[1] == pytest.approx(3 * by_group[2]), "chat is the set's own kind"


def test_a_source_of_risky_rows_is_held_against_unfitted_harmless_ones() -> None:
    files = ("risky", "harmless", "fitted", "mixed")
    uses = [{"file": file, "family": file, "train": file == "fitted"} for file in files]
    recipe = recipes(sources=uses).sets[0]
    texts = dict(zip(files, (rows_of(1, 2), rows_of(0, 3), rows_of(0, 4), TEXTS), strict=True))
    (found,) = hard_negatives(recipe, texts)
    assert found is texts["harmless"]
    both = joined([row_scores(recipe, t, np.full(len(t.rows), n)) for n, t in enumerate((texts["risky"], found))])
    assert both.labels.tolist() == [1, 1, 0, 0, 0]
    assert both.scores.tolist() == [0, 0, 1, 1, 1]
    assert [row.label for row in both.rows] == both.labels.tolist()
