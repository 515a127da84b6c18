"""Target: one kind of file, and what its reader promises."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monitor.errors import ConfigError


@dataclass(frozen=True)
class Target:
    """One kind of file: good ones to begin with, and what reads it."""

    name: str
    file: str
    seeds: Callable[[], Sequence[bytes]]
    read: Callable[[Path], object]
    refused_by: tuple[type[Exception], ...] = (ConfigError,)
    beside: Mapping[str, Callable[[], bytes]] | None = None
    """Good files that have to lie next to it."""

    def laid_out(self, folder: Path) -> Path:
        """Writes what lies beside it to `folder`, and returns where the file itself belongs."""
        for name, make in (self.beside or {}).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(make())
        path = folder / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def fault_of(target: Target, path: Path) -> tuple[bool, str]:
    """Whether the file is read, and what is wrong if its reader breaks its promise."""
    try:
        target.read(path)
    except target.refused_by:
        return False, ""
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as e:  # noqa: BLE001 - any other error is what is looked for; a panic in Rust is no Exception
        return False, f"{type(e).__name__}: {e}"[:300]
    return True, ""
