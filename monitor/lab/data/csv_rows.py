"""Rows of a CSV file with a header, as the records of a JSONL file would be."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from monitor.errors import ConfigError
from monitor.events.event import Origin, Record


def csv_records(path: Path) -> Iterator[Record]:
    """One record a row, with the number of its last line. Empty cells are left out, because CSV has no null.

    Raises ConfigError if the file cannot be read, or with the line of what is not CSV.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restkey="", strict=True)
            for row in reader:
                if "" in row:
                    raise ConfigError(f"{path}:{reader.line_num}: more cells than the header has columns")
                body = {key: _value(key, cell) for key, cell in row.items() if cell}
                yield Record(json.dumps(body).encode(), Origin(str(path), 0, reader.line_num))
    except OSError as e:
        raise ConfigError(f"{path}: cannot be read: {e.strerror}") from None
    except UnicodeDecodeError as e:
        raise ConfigError(f"{path}: not UTF-8: byte {e.start}") from None
    except csv.Error as e:
        raise ConfigError(f"{path}:{reader.reader.line_num}: not CSV: {e}") from None


def _value(key: str, cell: str) -> str | int:
    """Every cell is text, but a label is a number."""
    return int(cell) if key == "label" and cell.strip() in ("0", "1") else cell
