"""The machine: what it is, beside what was measured on it."""

from __future__ import annotations

import platform
from pathlib import Path


def machine() -> str:
    """The processor, for what was measured and what rounds."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return name
