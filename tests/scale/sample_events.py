"""Input of scans: files of short events, some of which make an alert and one of which is bad."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def event(name: str) -> dict[str, Any]:
    """An event in the native format; every third one makes an alert."""
    alert = int(name.rpartition("-")[2]) % 3 == 0
    return {"id": name, "response": "an alert" if alert else "fine"}


def write_jsonl(path: Path, count: int) -> None:
    """Events NAME-0, NAME-1, ... of a file NAME.jsonl."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(event(f"{path.stem}-{n}")) + "\n" for n in range(count)))


def write_parquet(path: Path, count: int, rows_a_group: int) -> None:
    """The same as Parquet, in row groups of that size."""
    import pyarrow
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [event(f"{path.stem}-{n}") for n in range(count)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=rows_a_group)


def results(folder: Path) -> list[dict[str, Any]]:
    """All rows of a results folder, by file and row."""
    from pyarrow import parquet

    rows = [row for path in folder.glob("part-*.parquet") for row in parquet.read_table(path).to_pylist()]
    return sorted(rows, key=lambda row: (row["file"], row["row"]))
