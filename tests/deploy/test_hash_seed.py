"""Hashes of text are seeded at random in every process, so that nobody can choose keys of JSON that collide."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
_SOURCES = [*ROOT.glob("monitor/**/*.py"), ROOT / "Makefile", *ROOT.glob("deploy/**/*")]


def test_nothing_fixes_the_seed_of_hashes() -> None:
    files = [path for path in _SOURCES if path.is_file()]
    assert any(path.name == "Dockerfile" or path.name == "Containerfile" for path in files)
    assert [path for path in files if b"PYTHONHASHSEED" in path.read_bytes()] == []


def test_two_processes_hash_the_same_text_differently() -> None:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONHASHSEED"}
    command = [sys.executable, "-c", "import monitor.cli.app; print(hash('key'))"]
    hashes = {subprocess.run(command, env=clean, cwd=ROOT, capture_output=True, check=True).stdout for _ in range(2)}
    assert len(hashes) == 2
