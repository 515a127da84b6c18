"""JSON lines of the labelling files, read with file and line in every error."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from monitor.errors import ConfigError

MAX_LINE_BYTES = 4_000_000


def read_lines(path: Path, max_lines: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each object of a file of JSON lines, which may be gzipped, with its place.

    Raises ConfigError if the file can't be read, is too long, or has a line that is not an object.
    """
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                where = f"{path}:{number}"
                if len(line) > MAX_LINE_BYTES:
                    raise ConfigError(f"{where}: longer than {MAX_LINE_BYTES} bytes")
                if number > max_lines:
                    raise ConfigError(f"{path}: more than {max_lines} lines")
                if line.strip():
                    yield where, _object(where, line)
    except (OSError, EOFError) as e:  # a gzip file that is cut off ends in EOFError
        raise ConfigError(f"{path}: cannot be read: {e}") from None


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes one object a line. Raises ConfigError if it can't."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    except OSError as e:
        raise ConfigError(f"{path}: cannot be written: {e.strerror}") from None


def _object(where: str, line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as e:
        raise ConfigError(f"{where}: not JSON: {e}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{where}: expected an object")
    return found
