"""Whether a file or folder could be written, found out without writing."""

from __future__ import annotations

import os
from pathlib import Path


def file_problem(path: Path) -> str | None:
    """Why the file could not be appended to, with missing folders created; None if it could."""
    if os.path.isdir(path):  # noqa: PTH112 - as below
        return "is a folder; name a file in it"
    if not _exists(path):
        return folder_problem(path.parent)
    return None if _allowed(path, os.R_OK | os.W_OK) else "no permission to read and write this file"


def folder_problem(folder: Path) -> str | None:
    """Why files could not be created in the folder, with missing folders created; None if they could."""
    existing = next(place for place in (folder.absolute(), *folder.absolute().parents) if _exists(place))
    if not existing.is_dir():
        return f"{existing} is not a folder"
    return None if _allowed(existing, os.W_OK | os.X_OK) else f"no permission to write in {existing}"


def _exists(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110 - Path.exists raises if a folder on the way cannot be searched


def _allowed(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)
