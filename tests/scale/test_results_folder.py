"""ResultsFolder: results are whole or not there, and never mixed with those of another scan."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.errors import ConfigError, Permanent
from monitor.scale.parts import find_parts
from monitor.scale.results_folder import ResultsFolder
from tests.scale.sample_events import write_jsonl

ABOUT = {"config": "a", "sets": "b"}


def test_what_is_put_there_is_done(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "in" / "a.jsonl", 1)
    (part,) = find_parts(str(tmp_path / "in"))
    folder = ResultsFolder(str(tmp_path / "out"))
    assert folder.prepare(ABOUT, [part]) == set()
    assert not folder.has(part.name)
    (tmp_path / "made").write_text("results")
    folder.put(tmp_path / "made", part.name)
    folder.put(tmp_path / "made", part.name)  # by a worker that took over
    assert folder.has(part.name)
    assert ResultsFolder(str(tmp_path / "out")).prepare(ABOUT, [part]) == {part.name}


def test_another_config_is_refused(tmp_path: Path) -> None:
    ResultsFolder(str(tmp_path)).prepare(ABOUT, [])
    with pytest.raises(ConfigError, match="has results made with another sets; choose another folder"):
        ResultsFolder(str(tmp_path)).prepare({**ABOUT, "sets": "c"}, [])
    (tmp_path / "_scan.json").write_text("{")
    with pytest.raises(ConfigError, match="is damaged"):
        ResultsFolder(str(tmp_path)).prepare(ABOUT, [])


def test_a_file_that_has_changed_since_is_refused(tmp_path: Path) -> None:
    source, out = tmp_path / "in" / "a.jsonl", tmp_path / "out"
    write_jsonl(source, 1)
    (part,) = find_parts(str(source))
    folder = ResultsFolder(str(out))
    folder.prepare(ABOUT, [part])
    folder.put(source, part.name)
    write_jsonl(source, 2)
    with pytest.raises(ConfigError, match=f"{source}: has changed since"):
        folder.prepare(ABOUT, find_parts(str(source)))


def test_results_of_other_files_may_be_there(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "in" / "a.jsonl", 1)
    write_jsonl(tmp_path / "in" / "b.jsonl", 1)
    a, b = find_parts(str(tmp_path / "in"))
    folder = ResultsFolder(str(tmp_path / "out"))
    folder.prepare(ABOUT, [a])
    folder.put(tmp_path / "in" / "a.jsonl", a.name)
    assert b.name not in folder.prepare(ABOUT, [b])


def test_what_a_killed_worker_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    folder = ResultsFolder(str(tmp_path))
    folder.prepare(ABOUT, [])
    (tmp_path / ".part-0123-4567-00000.parquet.89ab.tmp").touch()
    (tmp_path / "mine.tmp").touch()
    folder.remove_unfinished()
    assert {path.name for path in tmp_path.iterdir()} == {"_scan.json", "mine.tmp"}


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = ResultsFolder(str(tmp_path / "file"))
    with pytest.raises(ConfigError, match=r"^--out: "):
        folder.prepare(ABOUT, [])
    with pytest.raises(Permanent, match="--out: "):
        folder.put(tmp_path / "file", "part.parquet")
