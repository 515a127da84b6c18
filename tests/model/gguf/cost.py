"""Prints what opening a GGUF takes, by our reader and the gguf package's: python -m tests.model.gguf.cost FILE"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from gguf import GGUFReader

from monitor.model.gguf.file import GgufFile

READERS: dict[str, Callable[[Path], object]] = {"GgufFile": GgufFile.open, "gguf.GGUFReader": GGUFReader}


def cost(name: str, path: Path) -> str:
    """CPU time, and how far the process grew."""
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    opened = READERS[name](path)
    seconds = time.process_time() - started
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return f"{path.name}: {type(opened).__name__} {seconds:.1f} s, {grown * 1024 / 1e6:.0f} MB"


if __name__ == "__main__":
    for reader in READERS:
        with multiprocessing.get_context("spawn").Pool(1) as process:  # memory of its own
            print(process.apply(cost, (reader, Path(sys.argv[1]))))  # noqa: T201
