"""Label files: names that a person wrote, as CSV or JSON lines."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from monitor.errors import ConfigError
from monitor.lab.labelling.jsonl import read_lines
from monitor.sets.labels import Name
from monitor.yaml_file import faults

MAX_LINES = 100_000
COLUMNS = ("index", "label", "note", "false_friends")


def read_names(path: Path) -> dict[int, Name]:
    """The names in a file with the columns or keys of COLUMNS; lines without a label are left out.

    `false_friends` is a list, or a text with semicolons between its parts. Raises ConfigError with every bad line.
    """
    lines = _csv_lines(path) if path.suffix.lower() == ".csv" else read_lines(path, MAX_LINES)
    names: dict[int, Name] = {}
    problems: list[str] = []
    for where, line in lines:
        unknown = sorted(set(line) - set(COLUMNS))
        if unknown:
            problems.append(f"{where}: {unknown[0]}: unknown; known are {', '.join(COLUMNS)}")
            continue
        index = str(line.get("index", "")).strip()
        if not index.isdecimal():
            problems.append(f"{where}: index: {index or 'missing'}: must be the number of a latent")
            continue
        label = str(line.get("label") or "").strip()
        if not label:
            continue
        if int(index) in names:
            problems.append(f"{where}: index: {index} is named twice")
            continue
        data = {"label": label, "note": line.get("note") or "", "false_friends": _parts(line.get("false_friends"))}
        try:
            names[int(index)] = Name.model_validate(data)
        except ValidationError as e:
            problems += [problem.replace(f"{path}", where, 1) for problem in faults(path, e, "label")]
    if problems:
        raise ConfigError(problems)
    return names


def _csv_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            for number, line in enumerate(reader, start=2):
                if number > MAX_LINES:
                    raise ConfigError(f"{path}: more than {MAX_LINES} lines")
                if None in line:
                    raise ConfigError(f"{path}:{number}: more columns than the first line has")
                yield f"{path}:{number}", line
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise ConfigError(f"{path}: cannot be read: {e}") from None


def _parts(value: Any) -> Any:
    if value is None:
        return ()
    return [part.strip() for part in value.split(";") if part.strip()] if isinstance(value, str) else value
