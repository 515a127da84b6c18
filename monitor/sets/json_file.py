"""JSON files next to a set, read strictly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from monitor.errors import ConfigError
from monitor.yaml_file import read_bytes


def load_json(file: Path) -> tuple[dict[str, Any], bytes]:
    """The mapping in the file, and its bytes. Raises ConfigError if it is none, or gives a key twice."""
    raw = read_bytes(file)
    try:
        data = json.loads(raw, object_pairs_hook=_no_key_twice)
    except ValueError as e:  # also of bytes that are not UTF-8
        raise ConfigError(f"{file}: not JSON: {e}") from None
    except RecursionError:
        raise ConfigError(f"{file}: nested too deeply") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{file}: expected keys and values at the top")
    return data, raw


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        twice = next(key for n, (key, _) in enumerate(pairs) if key in dict(pairs[:n]))
        raise ValueError(f"the key {twice!r} is given twice")
    return data
