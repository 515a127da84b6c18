"""PayloadFolder: nothing outside of the folder, nothing that is no file, nothing too large or half written."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from monitor.errors import BadEvent
from monitor.readers.sent.payload_folder import PayloadFolder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x").write_bytes(b"secret")
    inside = tmp_path / "payloads"
    (inside / "a" / "b").mkdir(parents=True)
    (inside / "one").write_bytes(b"12345")
    (inside / "a" / "b" / "two").write_bytes(b"67")
    (inside / "link").symlink_to(tmp_path / "secret")
    (inside / "near").symlink_to(inside / "one")
    (inside / "way").symlink_to(tmp_path / "outside", target_is_directory=True)
    os.mkfifo(inside / "pipe")
    return inside


def test_files_are_read_by_relative_and_absolute_names(folder: Path) -> None:
    read = PayloadFolder(folder, 5, 0).read
    assert [read("one"), read("a/b/two"), read("./a//b/two"), read(str(folder / "one"))] == [
        b"12345",
        b"67",
        b"67",
        b"12345",
    ]


def test_the_folder_itself_may_be_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mounted").symlink_to(folder, target_is_directory=True)
    assert PayloadFolder(tmp_path / "mounted", 5, 0).read(str(tmp_path / "mounted" / "one")) == b"12345"


@pytest.mark.parametrize(
    "name",
    ["../secret", "a/../../secret", "/etc/passwd", "..", ".", "/", "one\0", "link", "near", "way/x", "pipe", "a", "no"],
)
def test_nothing_outside_of_the_folder_is_read(folder: Path, name: str) -> None:
    with pytest.raises(BadEvent) as caught:
        PayloadFolder(folder, 100, 0).read(name)
    assert caught.value.path == "$.activations.file"


def test_absolute_names_of_another_folder_are_refused(folder: Path) -> None:
    for name in (folder.parent / "secret", folder.with_name("payloads-too") / "x", folder / ".." / "secret"):
        with pytest.raises(BadEvent):
            PayloadFolder(folder, 100, 0).read(str(name))


def test_a_large_file_is_refused(folder: Path) -> None:
    with pytest.raises(BadEvent, match="5 bytes, over") as caught:
        PayloadFolder(folder, 4, 0).read("one")
    assert caught.value.kind == "size"


def test_a_file_that_is_being_written_is_waited_for(folder: Path) -> None:
    with (folder / "one.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(BadEvent, match="still being written"):
            PayloadFolder(folder, 100, 0).read("one")
    assert PayloadFolder(folder, 100, 0).read("one") == b"12345"  # closing the file has released the lock
