"""The machine: which processor it has, and what it or its container leaves to this process."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
PROC = Path("/proc")
LIBRARY_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
"""Variables that libraries read when they are imported."""


def machine() -> str:
    """The name of the processor, on which measured times and rounding depend."""
    try:
        lines = (PROC / "cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return name


@dataclass(frozen=True)
class Limits:
    """How many cores and bytes this process may use."""

    cores: int
    memory_bytes: int
    cores_quota: float | None = None
    """The CPU quota of the container, if that is what limits the cores."""
    memory_limited: bool = False
    """Whether the container has a memory limit, below the memory of the machine."""

    def __str__(self) -> str:
        cores = f"{self.cores} core{'s' if self.cores > 1 else ''}"
        if self.cores_quota is not None:
            cores += f" (a CPU quota of {self.cores_quota:g})"
        memory = f"{round(self.memory_bytes / 2**30, 2):g} GiB of memory"
        return f"{cores}, {memory}{' (the limit of the container)' if self.memory_limited else ''}"


def limits(cgroups: Path = CGROUPS, proc: Path = PROC) -> Limits:
    """The tightest of what affinity, the machine's memory, and the process's cgroups and their parents allow.

    Reads cpu.max and memory.max of cgroup v2 (Linux, Documentation/admin-guide/cgroup-v2.rst), and cpu.cfs_quota_us
    and memory.limit_in_bytes of v1. A quota is rounded up to whole cores.
    """
    cores = len(os.sched_getaffinity(0))
    quota = min(_quotas(cgroups, proc), default=math.inf)
    limited = max(1, math.ceil(quota)) if quota < cores else cores
    machine_bytes = _machine_bytes(proc)
    limit = min(_memory_limits(cgroups, proc), default=machine_bytes)
    return Limits(
        cores=limited,
        memory_bytes=min(limit, machine_bytes),
        cores_quota=quota if quota < cores else None,
        memory_limited=limit < machine_bytes,
    )


def usable_cores() -> int:
    """How many cores this process may use; at least 1."""
    return limits().cores


def limit_library_threads(env: MutableMapping[str, str], found: Limits) -> None:
    """Tells numpy and torch the number of cores under a CPU quota; they would count the cores of the whole machine.

    Variables that are set stay as they are.
    """
    if found.cores_quota is not None:
        for name in LIBRARY_THREADS:
            env.setdefault(name, str(found.cores))


def _quotas(cgroups: Path, proc: Path) -> Iterator[float]:
    """The CPU quotas of the process's cgroups, in cores."""
    for folder in _folders(cgroups, "", proc):
        quota, period = _words(folder / "cpu.max", 2)
        if quota > 0 and period > 0:
            yield quota / period
    for folder in _folders(cgroups, "cpu", proc):
        quota, period = _words(folder / "cpu.cfs_quota_us", 1) + _words(folder / "cpu.cfs_period_us", 1)
        if quota > 0 and period > 0:
            yield quota / period


def _memory_limits(cgroups: Path, proc: Path) -> Iterator[int]:
    """The memory limits of the process's cgroups, in bytes; version 1 says a very large one if there is none."""
    files = [folder / "memory.max" for folder in _folders(cgroups, "", proc)]
    files += [folder / "memory.limit_in_bytes" for folder in _folders(cgroups, "memory", proc)]
    for path in files:
        (limit,) = _words(path, 1)
        if limit > 0:
            yield limit


def _folders(cgroups: Path, controller: str, proc: Path) -> list[Path]:
    """The process's cgroup and its parents, up to where they are mounted; `controller` is empty for version 2.

    A container usually sees its own cgroup as the topmost one. If it does not, its path says where it is.
    """
    top = cgroups / controller
    own = Path()
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:  # number:controllers:path, and 0::path of version 2
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(",") and ".." not in path:
            own = Path(path.lstrip("/"))
    return [top / part for part in (own, *own.parents)]


def _words(path: Path, count: int) -> list[int]:
    """The numbers in a file; 0 for each one that is missing or not a number, such as `max`."""
    try:
        words = path.read_text().split()
    except OSError:
        words = []
    words += [""] * (count - len(words))
    return [int(word) if word.isdecimal() else 0 for word in words[:count]]


def _machine_bytes(proc: Path) -> int:
    try:
        lines = (proc / "meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal:"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
