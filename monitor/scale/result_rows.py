"""ResultRows: the results of one part as a Parquet file, with a row for each event."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monitor.engine import Evaluation
from monitor.errors import BadEvent
from monitor.events.event import Record

if TYPE_CHECKING:
    import pyarrow

_ROWS = 1_000
"""Rows that are held before they are written."""


def result_schema() -> pyarrow.Schema:
    """The columns. `row` counts from 1: the line of JSONL, or the row of a Parquet file.

    An event has its id, its tokens and its alerts, each as JSON; `tokens` is null if a rule left the event out. A
    record that could not be read, or only in part, has a row of its own with the reason in `error`.
    """
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("file", pa.string(), nullable=False),
            pa.field("row", pa.int64(), nullable=False),
            pa.field("event_id", pa.string()),
            pa.field("tokens", pa.int64()),
            pa.field("sets", pa.list_(pa.string()), nullable=False),
            pa.field("alerts", pa.list_(pa.string()), nullable=False),
            pa.field("error", pa.string()),
        ]
    )


class ResultRows:
    """Writes rows to a new file, which is complete only after `close`; also takes dead letters."""

    def __init__(self, path: Path) -> None:
        from pyarrow import parquet

        self._schema = result_schema()
        self._writer = parquet.ParquetWriter(path, self._schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []

    def evaluated(self, evaluations: Sequence[Evaluation]) -> None:
        """Adds a row for each event."""
        for e in evaluations:
            self._add(
                file=e.event.origin.topic,
                row=e.event.origin.offset,
                event_id=e.event.id,
                tokens=None if e.sampled_out else e.tokens,
                sets=[alert.set.id for alert in e.alerts],
                alerts=[alert.to_json() for alert in e.alerts],
                error=None,
            )

    def add(self, record: Record, error: BadEvent) -> None:
        """Adds a row for a record that can't be read, or only in part."""
        self._add(
            file=record.origin.topic,
            row=record.origin.offset,
            event_id=None,
            tokens=None,
            sets=[],
            alerts=[],
            # the path of a fault may quote a key with lone surrogates
            error=str(error).encode(errors="backslashreplace").decode(),
        )

    def flush(self) -> None:
        """Nothing to deliver: the file counts as a whole, once it is closed."""

    def reset(self) -> None:
        """Nothing to forget: this never fails in a way that is tried again."""

    def close(self) -> None:
        """Completes the file."""
        self._write()
        self._writer.close()

    def _add(self, **row: Any) -> None:
        self._rows.append(row)
        if len(self._rows) == _ROWS:
            self._write()

    def _write(self) -> None:
        import pyarrow as pa

        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, self._schema))
            self._rows.clear()
