"""What a container leaves to the process, from cgroup files made here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from monitor.machine import Limits, limit_library_threads, limits

ALL = len(os.sched_getaffinity(0))
GIB = 2**30
MEMORY = 8 * GIB
NO_LIMIT_V1 = 0x7FFFFFFFFFFFF000


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    files = {"meminfo": f"MemTotal:       {MEMORY // 1024} kB\nMemFree: 1 kB\n", "self/cgroup": "0::/\n"}
    return write(tmp_path / "proc", files)


@pytest.fixture
def cgroups(tmp_path: Path) -> Path:
    (tmp_path / "cgroup").mkdir()
    return tmp_path / "cgroup"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, ALL),
        ({"cpu.max": "max 100000\n"}, ALL),
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "150000 100000\n"}, min(2, ALL)),
        ({"cpu.max": "6400000 100000\n"}, ALL),
        ({"cpu.max": "nonsense\n"}, ALL),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, ALL),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
    ],
)
def test_the_quota_of_the_container_counts(cgroups: Path, proc: Path, files: dict[str, str], expected: int) -> None:
    assert limits(write(cgroups, files), proc).cores == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, MEMORY),
        ({"memory.max": "max\n"}, MEMORY),
        ({"memory.max": f"{GIB}\n"}, GIB),
        ({"memory.max": f"{64 * GIB}\n"}, MEMORY),
        ({"memory.max": ""}, MEMORY),
        ({"memory/memory.limit_in_bytes": f"{NO_LIMIT_V1}\n"}, MEMORY),
        ({"memory/memory.limit_in_bytes": f"{GIB}\n"}, GIB),
    ],
)
def test_the_memory_limit_of_the_container_counts(
    cgroups: Path, proc: Path, files: dict[str, str], expected: int
) -> None:
    found = limits(write(cgroups, files), proc)
    assert found.memory_bytes == expected
    assert found.memory_limited == (expected < MEMORY)


@pytest.mark.parametrize(
    ("own", "folder"),
    [("0::/pods/this", ""), ("4:memory:/pods/this\n1:cpu,cpuacct:/pods/this", "version-1")],
)
def test_the_tightest_of_a_cgroup_and_its_parents_counts(cgroups: Path, proc: Path, own: str, folder: str) -> None:
    (proc / "self/cgroup").write_text(f"{own}\n")
    if folder:
        quota = {"cpu/pods/cpu.cfs_quota_us": "50000\n", "cpu/pods/cpu.cfs_period_us": "100000\n"}
        limit = {"memory/pods/this/memory.limit_in_bytes": f"{GIB}\n", "memory/memory.limit_in_bytes": f"{3 * GIB}\n"}
        write(cgroups, quota | limit)
    else:
        write(cgroups, {"pods/cpu.max": "50000 100000\n", "pods/this/memory.max": f"{GIB}\n"})
        write(cgroups, {"pods/memory.max": f"{2 * GIB}\n", "pods/other/memory.max": "1\n"})
    found = limits(cgroups, proc)
    assert (found.cores, found.cores_quota, found.memory_bytes) == (1, 0.5, GIB)


def test_a_path_outside_of_what_is_mounted_is_no_path(cgroups: Path, proc: Path) -> None:
    (proc / "self/cgroup").write_text("0::/../../elsewhere\n")
    write(cgroups.parent, {"elsewhere/memory.max": "1\n"})
    assert limits(write(cgroups, {"memory.max": f"{GIB}\n"}), proc).memory_bytes == GIB


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "50000 100000\n", "memory.max": str(3 * GIB // 2)},
         "1 core (a CPU quota of 0.5), 1.5 GiB of memory (the limit of the container)"),
        ({}, f"{ALL} core{'s' if ALL > 1 else ''}, 8 GiB of memory"),
    ],
)  # fmt: skip
def test_they_are_said_in_words(cgroups: Path, proc: Path, files: dict[str, str], expected: str) -> None:
    assert str(limits(write(cgroups, files), proc)) == expected


@pytest.mark.parametrize(
    ("quota", "expected"),
    [(None, {"OMP_NUM_THREADS": "7"}), (1.5, {"OMP_NUM_THREADS": "7", "OPENBLAS_NUM_THREADS": "2"})],
)
def test_libraries_learn_of_a_quota_only(quota: float | None, expected: dict[str, str]) -> None:
    env = {"OMP_NUM_THREADS": "7"}
    limit_library_threads(env, Limits(2, GIB, quota))
    assert env == expected


def test_the_real_files_are_read() -> None:
    found = limits()
    assert 1 <= found.cores <= ALL
    assert found.memory_bytes > 0
