"""Labelled rows: reading, sampling, and which text a label is about."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from monitor.errors import ConfigError
from monitor.events.event import EventLimits
from monitor.lab.data.rows import LabelledRow, load_benign, load_rows


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


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b'{"id": "a", "label": 1', "rows.jsonl:2: not JSON"),
        (b'{"id": "a", "label": 1, "prompt": "\xff"}', "rows.jsonl:2: not UTF-8: byte 35"),
        (b"[1]", "rows.jsonl:2: expected a JSON object"),
        (b'{"id": "a", "prompt": "p"}', "rows.jsonl:2: label: Field required"),
        (b'{"id": "a", "label": 1, "prompt": " ", "response": null, "messages": []}', None),
        (
            b'{"id": "a", "label": 1, "prompt": "", "response": null}',
            "rows.jsonl:2: prompt and response are both empty",
        ),
        (b'{"id": "a", "label": 1, "prompt": "\\ud800"}', "rows.jsonl:2: contains a lone surrogate"),
    ],
)
def test_faults_carry_file_and_line(tmp_path: Path, line: bytes, fault: str | None) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"id": "first", "label": 0, "prompt": "p"}\n' + line + b"\n")
    if fault is None:
        assert len(load_rows(path)) == 2
    else:
        with pytest.raises(ConfigError, match=fault):
            load_rows(path)


def test_what_other_people_write_is_understood(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [{"label": 1, "response": "r", "prompt": None, "pair": 7, "label_of": None}])
    row = load_rows(path)[0]
    assert (row.id, row.pair, row.prompt, row.label_of) == ("line-1", "7", "", "")


def test_a_whole_conversation_keeps_its_turns() -> None:
    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    row = LabelledRow.model_validate({"id": "x", "label": 1, "messages": turns, "response": "r"})
    assert [(m.role, m.content) for m in row.event(0).messages] == [("system", "s"), ("user", "u")]
    assert [row.text(turn) for turn in range(3)] == ["s", "u", "r"]


@pytest.mark.parametrize("response", [{}, {"response": None}, {"response": ""}])
def test_a_conversation_that_ends_with_the_assistant_has_its_response_there(response: dict[str, object]) -> None:
    turns = [{"role": "user", "content": "u"}, {"role": "Assistant", "content": "r"}]
    row = LabelledRow.model_validate({"id": "x", "label": 1, "messages": turns, **response})
    assert (row.response, row.labelled_segment) == ("r", "response")
    assert [(turn.role, turn.content) for turn in row.turns] == [("user", "u")]
    row = LabelledRow.model_validate({"id": "x", "label": 1, "messages": turns, "response": "own"})
    assert (row.response, len(row.turns)) == ("own", 2)


def test_a_missing_text_may_be_nan(tmp_path: Path) -> None:
    """Python and pandas write it, though it is not JSON."""
    path = tmp_path / "rows.jsonl"
    path.write_text('{"label": 1, "prompt": NaN, "response": "r", "pair": NaN}\n')
    (row,) = load_rows(path)
    assert (row.prompt, row.response, row.pair) == ("", "r", None)


ROWS = [{"id": "a", "label": 0, "prompt": 'p, "q"\nr', "response": "s"}, {"id": "b", "label": 1, "prompt": "1"}]


def as_array(path: Path) -> None:
    path.write_text(json.dumps(ROWS))


def as_indented_array(path: Path) -> None:
    path.write_text(json.dumps(ROWS, indent=2))


def as_gzip(path: Path) -> None:
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, ROWS)).encode()))


def as_csv(path: Path) -> None:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, ["id", "label", "prompt", "response"])
        writer.writeheader()
        writer.writerows(ROWS)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.json", as_array),
        ("a.json", as_indented_array),
        ("a.jsonl.gz", as_gzip),
        ("a.csv", as_csv),
        ("a.CSV", as_csv),
    ],
)
def test_rows_in_other_files(name: str, write: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path / name)
    expected = [LabelledRow.model_validate(row) for row in ROWS]
    assert load_rows(tmp_path / name) == expected
    with pytest.raises(ConfigError, match="label: a file of benign rows must not contain label 1"):
        load_benign(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"label,prompt\n1,p,more\n", "rows.csv:2: more cells than the header has columns"),
        (b"label,prompt\n2,p\n", "rows.csv:2: label: "),
        (b"label,prompt\n1,\xff\n", "rows.csv: not UTF-8"),
        (b'label,prompt\n1,"p"q\n', "rows.csv:2: not CSV: "),
        (b"label;prompt\n1;p\n", "rows.csv:2: label: Field required"),
    ],
)
def test_a_bad_csv_is_named(content: bytes, fault: str, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(content)
    with pytest.raises(ConfigError, match=fault):
        load_rows(tmp_path / "rows.csv")


def test_rows_in_utf_16_are_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"label": 1, "prompt": "p"}\n', encoding="utf-16")
    with pytest.raises(ConfigError, match="is UTF-16: convert it with iconv"):
        load_rows(tmp_path / "rows.jsonl")


def test_benign_traffic_comes_in_every_format(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "u"}]
    openai = {
        "request": {"messages": chat},
        "response": {
            "id": "o",
            "choices": [{"index": n, "message": {"role": "assistant", "content": f"r{n}"}} for n in (0, 1)],
        },
    }
    native = {"id": "n", "messages": chat, "response": "r"}
    cloud = {"specversion": "1.0", "id": "c", "source": "s", "type": "t", "data": {"prompt": "u", "response": "r"}}
    rows = [
        {"id": "l", "label": 0, "prompt": "u", "response": "r"},
        {"prompt": "u", "response": "r"},
        openai,
        native,
        cloud,
    ]
    found = load_benign(write(tmp_path / "benign.jsonl", rows))
    assert [row.id for row in found] == ["l", "line-2", "o", "o#1", "n", "c"]
    assert {row.label for row in found} == {0}
    assert {row.turns[0].content for row in found} == {"u"}


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (
            {"id": "a", "label": 1, "prompt": "p"},
            "benign.jsonl:1: label: a file of benign rows must not contain label 1",
        ),
        ({"id": "a", "messages": 5}, r"benign.jsonl:1: \$.messages"),
        ({"id": "a", "messages": [{"role": "user", "content": "x" * 50}]}, "over events.max_chars = 40"),
    ],
)
def test_a_bad_benign_line_is_named(tmp_path: Path, row: dict[str, object], fault: str) -> None:
    path = write(tmp_path / "benign.jsonl", [row])
    with pytest.raises(ConfigError, match=fault):
        load_benign(path, limits=EventLimits(max_chars=40))
