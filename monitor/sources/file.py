"""FileSource: records from a file of JSON or Parquet, or from standard input."""

from __future__ import annotations

import base64
import io
import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import date, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

from monitor.errors import ConfigError, Permanent
from monitor.events.event import Origin, Record
from monitor.events.json_object import is_utf16
from monitor.sources.compression import DAMAGE, PARQUET, decompressed, starts_with
from monitor.sources.json_values import json_values, spans_lines

_BOM = b"\xef\xbb\xbf"


class FileSource:
    """Hands out one record a line of JSONL, an object of pretty-printed JSON, or a row of Parquet; skips blank lines.

    `-` is standard input, read as JSON. gzip and Zstandard are decompressed, and a byte-order mark is skipped. A line
    or an object over `max_bytes` is handed out cut to one byte more, which is enough for the parser to refuse it, so
    that none fills the memory. Raises ConfigError if the file can't be opened or is of a kind that is not read, and
    Permanent from `poll` if it is UTF-16 or damaged.
    """

    unready = ""

    def __init__(self, path: str, max_bytes: int, batch: int = 64) -> None:
        self._exit = ExitStack()
        # an alert is Unicode text, which a file name need not be
        self._name = os.fsencode(path).decode(errors="replace")
        self._max_bytes = max_bytes
        self._batch = batch
        self.exhausted = False
        try:
            file = self._open(path)
            is_parquet = path.endswith(".parquet") or starts_with(file, PARQUET)
            if path == "-" and is_parquet:
                raise ConfigError("-: is Parquet, which can't be read from standard input: name the file")
            self._records = self._parquet(Path(path)) if is_parquet else self._jsonl(decompressed(file, self._name))
        except ConfigError:
            self._exit.close()
            raise

    def poll(self) -> Sequence[Record]:
        records = []
        for record in self._records:
            records.append(record)
            if len(records) == self._batch:
                return records
        self.exhausted = True
        return records

    def keep_alive(self) -> None:
        pass  # a file does not go away

    def commit(self) -> None:
        pass  # the run ends where the file does; there is nothing to remember

    def positions(self) -> None:
        return None  # how many records are left shows at the end of the file

    def close(self) -> None:
        self._exit.close()

    def _open(self, path: str) -> io.BufferedReader:
        try:
            if path == "-":
                file = io.BufferedReader(cast("Any", sys.stdin.buffer))
                self._exit.callback(file.detach)  # standard input is not ours to close
            else:
                file = self._exit.enter_context(io.BufferedReader(io.FileIO(path)))
            file.peek(1)
        except OSError as e:
            raise ConfigError(f"{self._name}: cannot be read: {e.strerror}") from None
        return file

    def _jsonl(self, file: BinaryIO) -> Iterator[Record]:
        try:
            for number, value in self._values(file):
                yield Record(value, Origin(self._name, 0, number))
        except DAMAGE as e:
            raise Permanent(f"{self._name}: damaged, or it breaks off: {e}") from None

    def _values(self, file: BinaryIO) -> Iterator[tuple[int, bytes]]:
        first = True
        lines = self._lines(file)
        for number, line, content in lines:
            if first and is_utf16(line):
                raise Permanent(f"{self._name}: is UTF-16: convert it with iconv -f UTF-16 -t UTF-8")
            if first and spans_lines(content):
                raw = ((n, raw) for n, raw, _ in lines)
                yield from json_values([(number, line)], raw, self._max_bytes)
                return
            first = False
            yield number, content

    def _lines(self, file: BinaryIO) -> Iterator[tuple[int, bytes, bytes]]:
        """Number, line, and the line without its end; blank ones are skipped."""
        number = 0
        while line := file.readline(self._max_bytes + 2):
            number += 1
            rest = line
            while not rest.endswith(b"\n") and (rest := file.readline(self._max_bytes + 2)):
                pass  # the rest of a line that is too long
            if number == 1:
                line = line.removeprefix(_BOM)
            too_long = not line.endswith(b"\n") and len(line) > self._max_bytes
            content = line if too_long else line.rstrip(b"\r\n")
            if too_long or content.strip():
                yield number, line, content

    def _parquet(self, path: Path) -> Iterator[Record]:
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError:
            raise ConfigError(f"{path}: reading Parquet needs: pip install 'latentwatch[parquet]'") from None
        try:
            file = self._exit.enter_context(parquet.ParquetFile(path))
        except OSError as e:
            raise ConfigError(f"{path}: cannot be read: {e}") from None
        except pyarrow.ArrowException as e:
            raise ConfigError(f"{path}: not Parquet: {e}") from None
        return self._rows(file)

    def _rows(self, file: Any) -> Iterator[Record]:
        number = 0
        for rows in self._row_batches(file):
            for row in rows:
                number += 1
                # a column that a row does not use comes as null, or as NaN (from pandas), which no event needs to say
                present = {key: value for key, value in row.items() if not _is_missing(value)}
                value = json.dumps(present, default=_as_text, ensure_ascii=False).encode(errors="surrogatepass")
                yield Record(value, Origin(self._name, 0, number))

    def _row_batches(self, file: Any) -> Iterator[list[dict[str, Any]]]:
        import pyarrow

        # Python's own times end at microseconds; to_pylist refuses what is finer
        micros = {i: pyarrow.timestamp("us", f.type.tz) for i, f in enumerate(file.schema_arrow) if _in_nanoseconds(f)}
        batches = file.iter_batches(batch_size=self._batch)
        done = 0
        while True:
            try:
                batch = next(batches, None)
                if batch is None:
                    return
                schema = batch.schema
                for i, unit in micros.items():
                    schema = schema.set(i, schema.field(i).with_type(unit))
                rows = batch.cast(schema, safe=False).to_pylist()
            except (OSError, ValueError, pyarrow.ArrowException) as e:
                raise Permanent(f"{self._name}: damaged behind row {done}: {' '.join(str(e).split())}") from None
            done += len(rows)
            yield rows


def _in_nanoseconds(field: Any) -> bool:
    return str(field.type).startswith("timestamp[ns")


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _as_text(value: object) -> str:
    """A value without a form in JSON: bytes are text, or base64 if they are something else."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    return str(value)  # decimals, durations and such, which no event needs to be exact
