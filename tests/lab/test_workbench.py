"""Texts: which entries of a row are looked at, and their texts."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.lab.activations import SegmentTable
from monitor.lab.rows import LabelledRow, Turn
from monitor.lab.workbench import Texts

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


def test_every_entry_has_the_text_of_its_turn() -> None:
    assert TEXTS.texts() == ["asked", "said", "one", "two", "three", "alone"]


def test_a_set_sees_its_segments_alone() -> None:
    assert TEXTS.seen(("response",)) == [[1], [4], []]
    assert TEXTS.judged(("response",)) == [[1], [4], [5]]
    assert TEXTS.seen(("user",)) == [[0], [2, 3], [5]]
    assert TEXTS.harmless(("response",)) == [4, 5]


def test_the_labelled_entries() -> None:
    assert TEXTS.labelled(1) == [0]
    assert TEXTS.labelled(0) == [4, 5]


def test_prior_tokens_shrink_the_means() -> None:
    assert TEXTS.x == pytest.approx(0.5)
