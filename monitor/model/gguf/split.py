"""The parts of a GGUF that was split into several files."""

from __future__ import annotations

import re
from pathlib import Path

from monitor.errors import ConfigError

# as gguf-split of llama.cpp names them
_PART = re.compile(r"(?P<name>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<ending>\.gguf)", re.IGNORECASE)


def gguf_parts(path: Path) -> tuple[Path, ...]:
    """All files of the GGUF that `path` is, or is a part of, in order. Raises ConfigError if one is missing."""
    part = _PART.fullmatch(path.name)
    if part is None:
        return (path,)
    count = part["count"]
    parts = [path.with_name(f"{part['name']}-{n:05}-of-{count}{part['ending']}") for n in range(1, int(count) + 1)]
    missing = [other.name for other in parts if not other.is_file()]
    if missing:
        raise ConfigError(f"reader.model: {path}: is one of {int(count)} files, and {missing[0]} is missing")
    return tuple(parts)
