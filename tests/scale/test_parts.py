"""Parts: which files are scanned, and in which pieces."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.errors import ConfigError
from monitor.scale.parts import find_parts
from tests.scale.sample_events import write_jsonl, write_parquet


def test_a_folder_has_a_part_for_each_file_and_row_group(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", 5, 2)
    write_jsonl(tmp_path / "deep" / "b.jsonl", 3)
    (tmp_path / "deep" / "c.json.zst").touch()
    for name in ("notes.txt", ".hidden.jsonl", "_about.json"):
        (tmp_path / name).write_text("{}")
    a, b = str(tmp_path / "a.parquet"), str(tmp_path / "deep" / "b.jsonl")
    parts = find_parts(str(tmp_path))
    c = str(tmp_path / "deep" / "c.json.zst")
    found = [(a, 0, 0), (a, 1, 2), (a, 2, 4), (b, 0, 0), (c, 0, 0)]
    assert [(p.file, p.number, p.first_row) for p in parts] == found
    assert len({p.name for p in parts}) == 5
    assert find_parts(str(tmp_path)) == parts


def test_a_uri_names_its_files_as_uris(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "b.jsonl", 1)
    assert [p.file for p in find_parts(f"file://{tmp_path}")] == [str(tmp_path / "b.jsonl")]


def test_a_file_is_scanned_whatever_its_name(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "events.log", 1)
    assert len(find_parts(str(tmp_path / "events.log"))) == 1


def test_a_file_that_changes_has_other_results(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "b.jsonl", 1)
    (before,) = find_parts(str(tmp_path))
    write_jsonl(tmp_path / "b.jsonl", 2)
    (after,) = find_parts(str(tmp_path))
    assert before.file_key == after.file_key
    assert before.name != after.name


def test_nothing_to_scan_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no files whose names end in"):
        find_parts(str(tmp_path))
    with pytest.raises(ConfigError, match="no such file or folder"):
        find_parts(str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="cannot be opened"):
        find_parts("nope://bucket/folder")


def test_every_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.parquet", 1)
    write_jsonl(tmp_path / "b.parquet", 1)
    with pytest.raises(ConfigError) as error:
        find_parts(str(tmp_path))
    assert [problem.split(": ")[0] for problem in error.value.problems] == [
        str(tmp_path / "a.parquet"),
        str(tmp_path / "b.parquet"),
    ]


@pytest.mark.parametrize("uri", ["s3://bucket/in?endpoint_override=minio", "s3://key:secret@bucket/in"])
def test_logins_and_options_come_from_the_environment(uri: str) -> None:
    with pytest.raises(ConfigError, match=r"^s3://: a URI must not have a login or options"):
        find_parts(uri)
