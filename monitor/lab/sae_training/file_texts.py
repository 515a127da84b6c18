"""FileTexts: the texts in files of rows, prose or code."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from monitor.events.event import Origin
from monitor.lab.sae_training.documents import Document, Unreadable, pieces, plain_document, row_documents
from monitor.model.files import file_sha256
from monitor.sources.file import FileSource

_ROWS = (".jsonl", ".ndjson", ".parquet")
_MAX_BYTES = 16_777_216


@dataclass
class FileTexts:
    """The texts in files: JSONL and Parquet rows in any event format or as {"text": ...}; other files as plain text.

    The group of a row is its `pair`, if it has one; the group of a plain text is the path of its file.
    """

    name: str
    root: Path
    files: Sequence[Path]
    unreadable: Unreadable = field(default_factory=Unreadable)
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        listing = "".join(f"{self._relative(file)} {file_sha256(file)}\n" for file in self.files)
        self.sha256 = hashlib.sha256(listing.encode()).hexdigest()

    def documents(self) -> Iterator[Document]:
        self.unreadable.rows = 0
        for file in self.files:
            yield from self._rows(file) if file.suffix in _ROWS else self._text(file)

    def _relative(self, file: Path) -> str:
        return file.relative_to(self.root).as_posix() if file != self.root else file.name

    def _rows(self, file: Path) -> Iterator[Document]:
        source = FileSource(str(file), _MAX_BYTES)
        try:
            while not source.exhausted:
                for record in source.poll():
                    yield from row_documents(record, f"{self.name}/{self._relative(file)}", self.unreadable)
        finally:
            source.close()

    def _text(self, file: Path) -> Iterator[Document]:
        try:
            text = file.read_bytes().decode()
        except (UnicodeDecodeError, OSError):
            self.unreadable.rows += 1
            return
        if "\0" in text:
            self.unreadable.rows += 1
            return
        group = f"{self.name}/{self._relative(file)}"
        for n, piece in enumerate(pieces(text)):
            yield plain_document(group, piece, Origin(str(file), 0, n))
