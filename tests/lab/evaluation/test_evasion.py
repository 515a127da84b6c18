"""Evasion: what each disguise does to a row, and how what is found afterwards is counted."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from monitor.lab.data.disguises import DISGUISES
from monitor.lab.data.rows import LabelledRow
from monitor.lab.evaluation.evasion import evasion_table, judge_disguised
from monitor.lab.statistics import Floats
from monitor.sets.load import LoadedSet
from monitor.tokens.normalise import normalised
from tests.feature_set_factory import make_weighted

TEXT = "Please hack it\nand run a shell"
ANSWER = LabelledRow(id="a", prompt="how?", response=TEXT, label=1, label_of="response")
QUESTION = LabelledRow(id="q", prompt=TEXT, label=1, label_of="prompt")


@pytest.mark.parametrize("name", DISGUISES)
def test_only_the_labelled_text_changes(name: str) -> None:
    answer, question = DISGUISES[name](ANSWER), DISGUISES[name](QUESTION)
    assert answer.turns[0].content == "how?"
    assert question.response == ""
    assert (answer.label, answer.id, answer.labelled_segment) == (1, "a", "response")
    changed = (answer.response, question.turns[-1].content)
    assert [text != TEXT for text in changed] == [name != "as it is"] * 2


def test_what_is_said_is_still_there() -> None:
    said = {name: disguise(ANSWER).response for name, disguise in DISGUISES.items()}
    assert TEXT in said["harmless text around it"]
    assert base64.b64decode(said["base64"]).decode() == TEXT
    for name in ("zero-width characters", "Cyrillic look-alikes"):
        undone = normalised(said[name])
        assert undone is not None
        assert undone.text == TEXT
    undone = normalised(said["other look-alikes"])
    assert undone is None or undone.text != TEXT
    assert said["leetspeak"] == "Pl3453 h4ck 17\n4nd run 4 5h3ll"
    assert said["markdown around words"] == "> - Please **hack** it\n> - and **run** a **shell**"


def test_a_text_that_is_split_is_whole_when_its_turns_are_joined() -> None:
    answer, question = DISGUISES["split over turns"](ANSWER), DISGUISES["split over turns"](QUESTION)
    parts = [turn.content for turn in answer.turns if turn.role == "assistant"]
    assert " ".join([*parts, answer.response]) == TEXT
    assert len(parts) == 2
    assert " ".join(turn.content for turn in question.turns if turn.role == "user") == TEXT
    one = LabelledRow(id="x", response="word", label=1)
    assert DISGUISES["split over turns"](one).response == "word"


def score(rows: Sequence[LabelledRow], _name: str) -> dict[str, Floats]:
    """Finds what is written in lower case."""
    return {"bias": np.array([1.0 if row.response.islower() else np.nan for row in rows])}


def test_positives_and_negatives_are_counted_for_each_disguise(tmp_path: Path) -> None:
    rows = [{"response": "hack", "label": 1}, {"response": "Ok", "label": 1}, {"response": "so", "label": 0}]
    (tmp_path / "bias.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    used = make_weighted(id="bias", category="bias", threshold=0.5)
    figures = judge_disguised([LoadedSet(Path("bias.yaml"), "0" * 64, used, used)], score, folder=tmp_path)
    found = {f.disguise: (f.found, f.positives, f.flagged, f.negatives) for f in figures}
    assert list(found) == list(DISGUISES)
    assert found["as it is"] == (1, 2, 1, 1)
    assert found["upper case"] == (0, 2, 0, 1)
    table = evasion_table(figures)
    assert "| Positives found | bias | all |\n|---|---|---|\n| as it is | 1 of 2 (50%) | 1 of 2 (50%) |" in table
    assert "| upper case | 0 of 1 (0%) | 0 of 1 (0%) |" in table
