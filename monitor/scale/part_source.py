"""PartSource: the records of one part, wherever its file is."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from monitor.errors import ConfigError, Permanent
from monitor.events.event import Origin, Record
from monitor.scale.parts import PARQUET, Part, open_path
from monitor.sources.file import FileSource


class PartSource:
    """A FileSource over a local copy of the part; records name the part's own file and their place in it."""

    unready = ""

    def __init__(self, part: Part, local: Path, max_bytes: int) -> None:
        self._source = FileSource(str(local), max_bytes)
        self._file = part.file
        self._first_row = part.first_row

    @property
    def exhausted(self) -> bool:
        return self._source.exhausted

    def poll(self) -> Sequence[Record]:
        return [
            dataclasses.replace(record, origin=Origin(self._file, 0, self._first_row + record.origin.offset))
            for record in self._source.poll()
        ]

    def keep_alive(self) -> None:
        self._source.keep_alive()

    def commit(self) -> None:
        self._source.commit()

    def positions(self) -> None:
        return self._source.positions()

    def close(self) -> None:
        self._source.close()


@contextmanager
def local_copy(part: Part) -> Iterator[Path]:
    """A local file with only that part. Raises Permanent if the part can't be read.

    Its size is bounded by that of the part: one row group, or a file of JSONL.
    """
    from pyarrow import ArrowException, fs, parquet

    filesystem, path, prefix = open_path(part.file)
    if not prefix and not path.endswith(PARQUET):
        yield Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="latentwatch-scan-") as folder:
        local = Path(folder) / Path(path).name
        try:
            if path.endswith(PARQUET):
                with parquet.ParquetFile(path, filesystem=filesystem) as file:
                    parquet.write_table(file.read_row_group(part.number), local)
            else:
                fs.copy_files(
                    path, str(local), source_filesystem=filesystem, destination_filesystem=fs.LocalFileSystem()
                )
        except (ArrowException, OSError) as e:
            raise Permanent(f"cannot be read: {' '.join(str(e).split())}") from None
        yield local


@contextmanager
def part_source(part: Part, max_bytes: int) -> Iterator[PartSource]:
    """The source of a part, closed at the end. Raises Permanent if the part can't be read."""
    with local_copy(part) as local:
        try:
            source = PartSource(part, local, max_bytes)
        except ConfigError as e:
            raise Permanent(str(e)) from None
        try:
            yield source
        finally:
            source.close()
