"""Finds the files of an SAE, whose path is a folder or, where one folder holds many SAEs, the file of one."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

from monitor.errors import ConfigError


def weights_file(path: Path, pattern: str) -> Path:
    """The file named `pattern` in the folder `path`, or `path` itself if it is that file.

    The file need not exist. Raises ConfigError if several match.
    """
    if path.is_file() and fnmatch(path.name, pattern):
        return path
    folder = path.parent if path.is_file() else path
    if "*" not in pattern:
        return folder / pattern
    found = sorted(file for file in folder.glob(pattern) if file.is_file())
    if len(found) > 1:
        names = ", ".join(file.name for file in found[:3])
        raise ConfigError(f"{path}: holds several SAEs ({names}{', ...' if len(found) > 3 else ''}); name one file")
    return found[0] if found else folder / pattern


def sae_folder(path: Path) -> Path:
    """The folder that the SAE at `path` lies in."""
    return path.parent if path.is_file() else path
