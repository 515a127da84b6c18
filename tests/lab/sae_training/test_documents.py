"""Where texts come from, and how they are mixed and split."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from monitor.errors import ConfigError
from monitor.lab.sae_training.documents import Document, TextSource, pieces
from monitor.lab.sae_training.text_sources import held_out, mixed, open_sources


def text_of(document: Document) -> str:
    return "|".join([*(m.content for m in document.event.messages), document.event.response])


def only(*names: Path | str) -> TextSource:
    (source,) = open_sources([str(n) for n in names])
    return source


def write_rows(path: Path, *rows: object) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_rows_of_every_kind(tmp_path: Path) -> None:
    openai = {
        "request": {"messages": [{"role": "user", "content": "q"}]},
        "response": {"id": "x", "choices": [{"message": {"role": "assistant", "content": c}} for c in "ab"]},
    }
    source = only(
        write_rows(
            tmp_path / "rows.jsonl",
            {"id": "1", "prompt": "p", "response": "r", "label": 1, "pair": "t"},
            {"messages": [{"role": "user", "content": "no id"}]},
            openai,
            {"text": "plain"},
            "{broken",
            {"id": "2"},
            [1],
        )
    )
    documents = list(source.documents())
    assert [text_of(d) for d in documents] == ["p|r", "no id|", "q|a", "q|b", "plain|"]
    assert [d.plain for d in documents] == [False, False, False, False, True]
    assert source.unreadable.rows == 3
    assert documents[0].group.endswith(":t"), "rows of a pair share a group"
    assert documents[2].group == documents[3].group
    assert len({d.group for d in documents}) == 4


def test_parquet_and_a_dataset_on_disk_hold_the_same(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_list([{"prompt": f"p{n}", "response": "r", "score": None} for n in range(3)])
    rows.to_parquet(tmp_path / "rows.parquet")
    rows.save_to_disk(tmp_path / "saved")
    for name in ("rows.parquet", "saved"):
        source = only(tmp_path / name)
        assert [text_of(d) for d in source.documents()] == ["p0|r", "p1|r", "p2|r"]
        assert [text_of(d) for d in source.documents()] == ["p0|r", "p1|r", "p2|r"], "from the first again"


def test_a_folder_of_code(tmp_path: Path) -> None:
    (tmp_path / "b.py").write_text("b = 1\n")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a.md").write_text("# A\n")
    (tmp_path / "image.png").write_bytes(b"\x89PNG\0\xff")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("hidden")
    source = only(tmp_path)
    assert [text_of(d) for d in source.documents()] == ["b = 1\n|", "# A\n|"]
    assert source.unreadable.rows == 1
    before = source.sha256
    (tmp_path / "b.py").write_text("b = 2\n")
    assert only(tmp_path).sha256 != before


def test_all_problems_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError) as e:
        open_sources(["none.jsonl", str(tmp_path / "empty"), "word"])
    assert [p.split(": ")[-1] for p in e.value.problems] == [
        "no such file or folder",
        "no files",
        "no such file or folder",
    ]


def test_long_text_is_cut_behind_lines_and_nothing_is_lost() -> None:
    text = "".join(f"line {n}\n" for n in range(20_000))
    parts = list(pieces(text))
    assert len(parts) > 3
    assert "".join(parts) == text
    assert all(part.endswith("\n") for part in parts)
    assert "".join(pieces("x" * 100_000)) == "x" * 100_000


def test_sources_are_mixed_at_the_same_rate(tmp_path: Path) -> None:
    short = write_rows(tmp_path / "short.jsonl", *({"text": f"s{n:09d}"} for n in range(400)))
    long = write_rows(tmp_path / "long.jsonl", *({"text": f"l{n:099d}"} for n in range(40)))
    sources = open_sources([str(short), str(long)])
    found = [text_of(d) for d in mixed(sources, 1)]
    assert sorted(found) == sorted(text_of(d) for s in sources for d in s.documents())
    half = found[:220]
    assert sum(t.startswith("l") for t in half) in range(18, 23), "10 times the text, a tenth of the rows"
    assert found == [text_of(d) for d in mixed(sources, 1)]
    assert found != [text_of(d) for d in mixed(sources, 2)]


def test_the_split_is_by_group_and_by_seed() -> None:
    groups = [str(n) for n in range(5_000)]
    out = {g for g in groups if held_out(g, 0, 0.1)}
    assert 400 < len(out) < 600
    assert out == {g for g in groups if held_out(g, 0, 0.1)}
    assert out != {g for g in groups if held_out(g, 1, 0.1)}
    assert not any(held_out(g, 0, 0.0) for g in groups)
