"""ResultsFolder: where results of parts go, whole or not at all, and what of them is done."""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from monitor.errors import ConfigError, Permanent
from monitor.scale.parts import Part, open_path

_ABOUT = "_scan.json"
"""What the results were made with. Programs that read a folder of Parquet ignore names that begin with _ or a dot."""
_NAME = re.compile(r"(part-[0-9a-f]{16})-[0-9a-f]{8}-\d{5,}\.parquet")
_UNFINISHED = re.compile(r"\.part-.*\.tmp")


class ResultsFolder:
    """A local folder, or one of a URI that pyarrow writes, such as s3://bucket/results.

    A result has its final name only when it is complete: a local file is renamed, and an object of S3 exists only
    after its last byte. A part that is scanned twice, because its worker died in between, replaces its own result.
    """

    def __init__(self, path: str) -> None:
        """Raises ConfigError if the URI can't be opened."""
        self._path = path
        self._filesystem, self._root, _ = open_path(path)
        self._local = self._filesystem.type_name == "local"

    def prepare(self, about: Mapping[str, str], parts: Sequence[Part]) -> set[str]:
        """Creates the folder if it is not there, and returns the names of the results in it.

        Raises ConfigError if the folder has results of another config, of other versions of the input's files, or
        can't be written.
        """
        try:
            self._filesystem.create_dir(self._root, recursive=True)
            self._check_about(about)
            names = self._names()
        except OSError as e:
            raise ConfigError(f"--out: {self._path}: {' '.join(str(e).split())}") from None
        done = {name for name in names if _NAME.fullmatch(name)}
        expected = {part.name for part in parts}
        files = {part.file_key: part.file for part in parts}
        keys = {found[1] for name in done - expected if (found := _NAME.fullmatch(name))}
        if changed := sorted(files[key] for key in keys & set(files)):
            raise ConfigError(
                f"{file}: has changed since --out {self._path} got results of it; choose another folder"
                for file in changed
            )
        return done

    def has(self, name: str) -> bool:
        """Whether that result is complete."""
        return bool(self._filesystem.get_file_info(f"{self._root}/{name}").is_file)

    def put(self, local: Path, name: str) -> None:
        """Puts a complete file there under that name. Raises Permanent if it can't be written."""
        from pyarrow import fs

        target = f"{self._root}/{name}"
        # a folder's rename is atomic only within one file system, so the file is copied next to its place first
        copy = f"{self._root}/.{name}.{uuid.uuid4().hex}.tmp" if self._local else target
        try:
            fs.copy_files(
                str(local), copy, source_filesystem=fs.LocalFileSystem(), destination_filesystem=self._filesystem
            )
            if self._local:
                os.replace(copy, target)  # noqa: PTH105 - paths of pyarrow are text
        except OSError as e:
            raise Permanent(f"--out: {target}: {' '.join(str(e).split())}") from None

    def remove_unfinished(self) -> None:
        """Removes what killed workers left behind. Call it when no worker writes any more."""
        for name in self._names() if self._local else ():
            if _UNFINISHED.fullmatch(name):
                Path(self._root, name).unlink(missing_ok=True)

    def _names(self) -> list[str]:
        from pyarrow import fs

        return [info.base_name for info in self._filesystem.get_file_info(fs.FileSelector(self._root)) if info.is_file]

    def _check_about(self, about: Mapping[str, str]) -> None:
        path = f"{self._root}/{_ABOUT}"
        if not self._filesystem.get_file_info(path).is_file:
            with self._filesystem.open_output_stream(path) as new:
                new.write(json.dumps(about, indent=1).encode() + b"\n")
            return
        with self._filesystem.open_input_stream(path) as old:
            content = old.readall()
        try:
            before = json.loads(content)
        except ValueError:
            before = None
        if not isinstance(before, dict):
            raise ConfigError(f"--out: {self._path}/{_ABOUT}: is damaged; choose another folder, or remove this one")
        different = sorted(key for key in {*before, *about} if before.get(key) != about.get(key))
        if different:
            raise ConfigError(
                f"--out: {self._path} has results made with another {', '.join(different)}; choose another folder"
            )
