"""The cache among processes: one makes a folder, the others wait; what is in use stays."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.assembly.cache_folder import KEPT, CacheFolder

_HOLD = """
import sys, time
from pathlib import Path
from monitor.assembly.cache_folder import CacheFolder
cache = CacheFolder(Path(sys.argv[1]))
if sys.argv[2] == "lease":
    lease = cache.lease(Path(sys.argv[3]))
    print("held", flush=True)
    sys.stdin.read()
else:
    with cache.writing(lambda: None):
        Path(sys.argv[1], ".half-done").mkdir()
        print("held", flush=True)
        sys.stdin.read()
"""
NOBODY = 65_534


def make(cache: Path, name: str, used_at: int = 0) -> Path:
    folder = cache / name
    folder.mkdir(parents=True)
    (folder / "file").write_text("x" * 100)
    os.utime(folder, (used_at, used_at))
    return folder


def holding(*arguments: object) -> subprocess.Popen[str]:
    """Another process, after it has its lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def nothing() -> None:
    pytest.fail("there is nobody to wait for")


def test_what_another_process_uses_is_neither_evicted_nor_cleared(tmp_path: Path) -> None:
    cache = CacheFolder(tmp_path / "bundles")
    folders = [make(cache.path, f"b{n}", n + 1) for n in range(KEPT + 2)]
    process = holding(cache.path, "lease", folders[0])
    os.utime(folders[0], (0, 0))
    assert [e.folder.name for e in cache.entries() if e.in_use] == ["b0"]
    cache.evict(keep=folders[-1])
    left = {e.folder.name for e in cache.entries()}
    assert left == {"b0", *(f.name for f in folders[-KEPT:])}
    assert not cache.remove(folders[0])
    end(process)
    assert cache.remove(folders[0])
    assert not folders[0].exists()


def test_the_oldest_go_first_and_the_one_that_was_made_stays(tmp_path: Path) -> None:
    cache = CacheFolder(tmp_path)
    folders = [make(tmp_path, f"b{n}", n) for n in range(KEPT + 2)]
    cache.evict(keep=folders[0])
    assert {e.folder.name for e in cache.entries()} == {"b0", *(f.name for f in folders[-KEPT + 1 :])}
    assert all(e.bytes == 100 for e in cache.entries())


def test_a_lease_ends_with_its_object_and_marks_the_use(tmp_path: Path) -> None:
    cache, folder = CacheFolder(tmp_path), make(tmp_path, "b")
    lease = cache.lease(folder)
    assert lease is not None
    (entry,) = cache.entries()
    assert entry.in_use
    assert entry.used_at > 0
    del lease
    assert not cache.entries()[0].in_use
    assert cache.lease(tmp_path / "missing") is None


def test_one_process_writes_at_a_time(tmp_path: Path) -> None:
    cache = CacheFolder(tmp_path)
    process = holding(tmp_path, "write")
    with cache.writing(lambda: end(process)):  # told that it has to wait
        assert list(tmp_path.iterdir()) == []  # and what the killed one left is swept
    assert process.returncode is not None


def test_a_lock_that_is_free_is_not_waited_for(tmp_path: Path) -> None:
    with CacheFolder(tmp_path / "deep" / "er").writing(nothing):
        assert (tmp_path / "deep" / "er").is_dir()


@pytest.fixture
def read_only() -> Iterator[Path]:
    """A cache that this process may read but not write, whoever runs the tests."""
    folder = Path(tempfile.mkdtemp())
    make(folder, "b")
    for path in (folder / "b", folder):
        path.chmod(0o555)
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    yield folder
    os.seteuid(user)
    for path in (folder, folder / "b"):
        path.chmod(0o755)
    (folder / "b" / "file").unlink()
    (folder / "b").rmdir()
    folder.rmdir()


def test_a_cache_that_cannot_be_written_is_read(read_only: Path) -> None:
    cache = CacheFolder(read_only)
    assert cache.lease(read_only / "b") is not None
    with pytest.raises(OSError, match="cannot be written"), cache.writing(nothing):
        pytest.fail("nothing may be written")
    assert not cache.remove(read_only / "b")
