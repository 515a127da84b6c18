"""Labelled rows: reading, sampling, and which text a label is about."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from monitor.errors import ConfigError
from monitor.lab.rows import LabelledRow, load_rows


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("row", "segment"),
    [
        ({"prompt": "p", "response": "r", "label_of": "prompt"}, "user"),
        ({"prompt": "p", "response": "r", "label_of": "response"}, "response"),
        ({"prompt": "p", "response": "r"}, "response"),
        ({"prompt": "p", "label_of": "text"}, "user"),
        ({"response": "r", "label_of": "prompt"}, "response"),
    ],
)
def test_the_labelled_segment(row: dict[str, str], segment: str) -> None:
    assert LabelledRow.model_validate({"id": "x", "label": 1, **row}).labelled_segment == segment


def test_a_sample_keeps_pairs_whole(tmp_path: Path) -> None:
    rows = [
        {"id": f"{i}-{label}", "label": label, "pair": str(i), "prompt": "p"} for i in range(50) for label in (0, 1)
    ]
    path = write(tmp_path / "rows.jsonl", rows)
    sample = load_rows(path, limit=20)
    assert len(sample) == 20
    assert all(sum(r.pair == row.pair for r in sample) == 2 for row in sample)
    assert load_rows(path, limit=20) == sample, "drawn with a fixed seed"
    assert load_rows(path, limit=20, seed=1) != sample
    assert len(load_rows(path)) == 100


def test_a_bad_row_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": "a", "label": 1, "prompt": "p"}\n\n{"id": "b", "label": 2}\n')
    with pytest.raises(ConfigError, match=r"rows.jsonl:3: label"):
        load_rows(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_rows(tmp_path / "none.jsonl")


def test_a_line_separator_inside_a_text_does_not_end_the_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": "a", "label": 0, "prompt": "one\u2028two"}\n', encoding="utf-8")
    assert load_rows(path)[0].prompt == "one\u2028two"


def test_a_row_becomes_the_traffic_that_a_sidecar_sees() -> None:
    event = LabelledRow(id="x", label=1, prompt="p", response="r").event(4)
    assert [(m.role, m.content) for m in event.messages] == [("user", "p")]
    assert (event.id, event.response, event.origin.offset) == ("x", "r", 4)
    assert LabelledRow(id="x", label=1, response="r").event(0).messages == ()
