"""Parts: the pieces of the input that workers scan one by one: a file of JSONL, or a row group of Parquet."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from monitor.errors import ConfigError

PARQUET = ".parquet"
_JSONL = (".jsonl", ".ndjson", ".json")
_COMPRESSED = (".gz", ".zst")
_FOOTERS_AT_ONCE = 16


@dataclass(frozen=True)
class Part:
    """A piece of one input file."""

    file: str
    """Path or URI, as results and alerts name it."""
    version: str
    """Changes with the file's size and time."""
    number: int = 0
    """The row group of a Parquet file; 0 for JSONL."""
    first_row: int = 0
    """Rows of the file before this part."""

    @property
    def file_key(self) -> str:
        """What the names of all results of this file begin with, whatever its version."""
        return f"part-{hashlib.sha256(self.file.encode()).hexdigest()[:16]}"

    @property
    def name(self) -> str:
        """The file of its results: always the same, so that work which is done twice leaves one file."""
        return f"{self.file_key}-{self.version}-{self.number:05d}{PARQUET}"


def find_parts(path: str) -> list[Part]:
    """The parts of a file, or of all files in a folder and the folders in it. Hidden files are left out.

    `path` is local or a URI that pyarrow reads, such as s3://bucket/folder. Raises ConfigError if there is nothing to
    scan, or with every Parquet file whose footer can't be read.
    """
    from pyarrow import fs

    filesystem, root, prefix = open_path(path)
    try:
        info = filesystem.get_file_info(root)
        if info.type == fs.FileType.NotFound:
            raise ConfigError(f"{path}: no such file or folder")
        files = [info] if info.is_file else filesystem.get_file_info(fs.FileSelector(root, recursive=True))
    except OSError as e:
        raise ConfigError(f"{path}: cannot be read: {e}") from None
    wanted = sorted((f for f in files if f.is_file and (info.is_file or _is_input(f.path, root))), key=lambda f: f.path)
    if not wanted:
        raise ConfigError(
            f"{path}: no files whose names end in {', '.join((*_JSONL, PARQUET))}, or in {' or '.join(_COMPRESSED)} "
            "after that"
        )
    problems: list[str] = []
    with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
        found = list(pool.map(lambda f: _parts(filesystem, f, prefix, problems), wanted))
    if problems:
        raise ConfigError(sorted(problems))
    return [part for of_file in found for part in of_file]


def open_path(path: str) -> tuple[Any, str, str]:
    """The pyarrow file system of a path or URI, the path in it, and what makes such a path a URI again.

    Raises ConfigError for a URI that can't be opened, or that has a login or options in it.
    """
    from pyarrow import ArrowException, fs

    if "://" not in path:
        return fs.LocalFileSystem(), str(Path(path).absolute()), ""
    # results name their files, and logs do
    if "?" in path or "@" in path.partition("://")[2].partition("/")[0]:
        raise ConfigError(
            f"{path.partition('://')[0]}://: a URI must not have a login or options; "
            "use the environment, such as AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL"
        )
    try:
        filesystem, inside = fs.FileSystem.from_uri(path)
    except (ArrowException, OSError) as e:
        raise ConfigError(f"{path}: cannot be opened: {e}") from None
    return filesystem, inside, f"{path.partition('://')[0]}://" if filesystem.type_name != "local" else ""


def _is_input(path: str, root: str) -> bool:
    inside = PurePosixPath(path).relative_to(root).parts
    if any(name.startswith((".", "_")) for name in inside):
        return False
    return path.endswith(PARQUET) or any(path.removesuffix(c).endswith(_JSONL) for c in _COMPRESSED)


def _parts(filesystem: Any, info: Any, prefix: str, problems: list[str]) -> Sequence[Part]:
    file = f"{prefix}{info.path}"
    version = hashlib.sha256(f"{info.size} {info.mtime_ns}".encode()).hexdigest()[:8]
    if not info.path.endswith(PARQUET):
        return [Part(file, version)]
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(info.path, filesystem=filesystem) as opened:
            return list(_row_groups(file, version, opened.metadata))
    except (ArrowException, OSError) as e:
        problems.append(f"{file}: not Parquet: {' '.join(str(e).split())}")
        return []


def _row_groups(file: str, version: str, metadata: Any) -> Iterator[Part]:
    first_row = 0
    for n in range(metadata.num_row_groups):
        yield Part(file, version, n, first_row)
        first_row += metadata.row_group(n).num_rows
