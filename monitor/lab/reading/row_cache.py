"""RowCache: activations of labelled rows as arrays on disk, so that the same rows are not read twice."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from zipfile import BadZipFile

import numpy as np

from monitor.errors import ConfigError
from monitor.lab.data.rows import LabelledRow

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Arrays = TypeVar("Arrays", bound="DataclassInstance")


class RowCache:
    """Names the file of some rows by a hash of everything that decides their activations."""

    def __init__(self, folder: Path, key: str, prefix: str = "") -> None:
        """`key` names the model, the SAE, the precision and the layout of the file; names begin with `prefix`."""
        self._folder = folder
        self._key = key
        self._prefix = prefix

    def file(self, rows: Sequence[LabelledRow]) -> Path:
        """The file of these rows, whether it exists or not."""
        identity = "\n".join([self._key, *(row.model_dump_json() for row in rows)])
        return self._folder / f"{self._prefix}{hashlib.sha256(identity.encode()).hexdigest()[:32]}.npz"


def save_arrays(path: Path, arrays: DataclassInstance) -> None:
    """Writes a dataclass of arrays. A run that is killed never leaves half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.npz")
    np.savez(part, **{field.name: getattr(arrays, field.name) for field in fields(arrays)})
    part.replace(path)


def load_arrays(path: Path, kind: type[Arrays]) -> Arrays:
    """Reads a dataclass of arrays. Raises ConfigError if the file is damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            return kind(**{field.name: kept[field.name] for field in fields(kind)})
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as e:
        raise ConfigError(
            f"{path}: not a file of cached activations: {e}; delete it, and the texts are read again"
        ) from None
