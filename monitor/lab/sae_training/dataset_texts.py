"""DatasetTexts: the rows of a Hugging Face dataset, from the hub or from a folder that `save_to_disk` wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

from monitor.errors import ConfigError
from monitor.events.event import Origin, Record
from monitor.lab.sae_training.documents import Document, Unreadable, row_documents


class DatasetTexts:
    """Rows with `messages`, `prompt` and `response`, or `text`. `rows` yields the same dicts on every iteration."""

    def __init__(self, name: str, sha256: str, rows: Any) -> None:
        self.name = name
        self.sha256 = sha256
        """The revision on the hub (a Git commit), or the library's fingerprint of a dataset on disk."""
        self.unreadable = Unreadable()
        self._rows = rows

    def documents(self) -> Iterator[Document]:
        self.unreadable.rows = 0
        for number, row in enumerate(self._rows, 1):
            present = {key: value for key, value in row.items() if value is not None}
            try:
                value = json.dumps(present, default=_json_form).encode()
            except TypeError:  # such as an image
                self.unreadable.rows += 1
                continue
            yield from row_documents(Record(value, Origin(self.name, 0, number)), self.name, self.unreadable)


def saved_dataset(folder: Path) -> DatasetTexts:
    """A dataset that `Dataset.save_to_disk` wrote. Raises ConfigError if it can't be read."""
    datasets = _library()
    try:
        rows = datasets.load_from_disk(str(folder))
    except (OSError, ValueError) as e:
        raise ConfigError(f"{folder}: not a saved dataset: {e}") from None
    return DatasetTexts(folder.name, rows._fingerprint, rows)


def open_dataset(name: str) -> DatasetTexts:
    """Streams split `train` of a dataset on the hub, at its current revision.

    Raises ConfigError if no dataset of that name exists or can be reached.
    """
    datasets = _library()
    path, _, config = name.partition(":")
    try:
        from huggingface_hub import dataset_info

        revision = dataset_info(path).sha
        rows = datasets.load_dataset(path, config or None, split="train", streaming=True, revision=revision)
    except Exception as e:  # noqa: BLE001 - the libraries raise their own, requests' and fsspec's errors
        reason = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
        raise ConfigError(f"{name}: no such file or folder, and it can't be opened as a dataset: {reason}") from None
    return DatasetTexts(name, str(revision), rows)


def _library() -> Any:
    try:
        import datasets
    except ImportError:
        raise ConfigError("reading a Hugging Face dataset needs: pip install 'latentwatch[lab]'") from None
    return datasets


def _json_form(value: object) -> str:
    if isinstance(value, datetime | date):
        return value.isoformat()
    raise TypeError(f"a column of {type(value).__name__} has no JSON form")
