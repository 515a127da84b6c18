"""A change of files is told once, after the writer has finished."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.config import watched_files
from monitor.config.watched_files import WatchedFiles, file_states
from tests.config_map import ConfigMapFolder


def test_a_change_counts_once_it_is_the_same_in_two_polls(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("one")
    watched = WatchedFiles()
    watched.used(file_states([file]))
    assert not watched.settled(file_states([file]))
    file.write_text("two and")
    assert not watched.settled(file_states([file]))
    file.write_text("two and a half")
    assert not watched.settled(file_states([file]))
    now = file_states([file])
    assert watched.settled(now)
    watched.used(now)
    assert not watched.settled(file_states([file]))


def test_what_must_be_read_again_counts_as_changed(tmp_path: Path) -> None:
    watched = WatchedFiles()
    now = file_states([tmp_path])
    assert [watched.settled(now), watched.settled(now)] == [False, True]
    watched.used(now)
    watched.used(None)
    assert watched.settled(now)


def test_a_swapped_config_map_a_removed_and_an_added_file_are_changes(tmp_path: Path) -> None:
    folder = ConfigMapFolder(tmp_path / "mounted", {"a.yaml": "one"})
    file = folder.path / "a.yaml"
    seen = [file_states([file])]
    folder.swap({"a.yaml": "two"})
    seen.append(file_states([file]))
    folder.swap({"b.yaml": "two"})
    seen.append(file_states([file]))
    assert seen[2] == {}
    assert seen[0] != seen[1] != {}


def test_the_number_of_files_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched_files, "_MAX_FILES", 2)
    files = [tmp_path / str(n) for n in range(5)]
    for file in files:
        file.touch()
    assert list(file_states(files)) == files[:2]
