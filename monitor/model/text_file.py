"""Text and JSON files of a model's folder, with errors that name the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from monitor.errors import ConfigError


def read_text(path: Path) -> str:
    """The text of a UTF-8 file. Raises ConfigError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as e:
        raise ConfigError(f"{path}: cannot be read: {e.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text; if it is UTF-16, convert it: iconv -f UTF-16 -t UTF-8") from None


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises ConfigError if the file cannot be read or holds something else."""
    try:
        data = json.loads(read_text(path))
    except (ValueError, RecursionError) as e:
        raise ConfigError(f"{path}: not JSON: {e}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected an object")
    return data
