"""The folder of one lab run: it starts empty, and its config.json says what the run was made from."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import monitor
from detectors.feature_set import ReaderRef
from monitor.errors import ConfigError
from monitor.model.files import file_sha256

_LIBRARIES = ("numpy", "scipy", "scikit-learn", "torch", "transformers")


def new_run_folder(path: Path) -> Path:
    """Creates the folder. Raises ConfigError if it already holds something."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise ConfigError(f"--out {path}: the folder is not empty; every run needs a folder of its own")
    except OSError as e:
        raise ConfigError(f"--out {path}: {e.strerror}") from None
    return path


def run_config(
    reader: ReaderRef, files: Mapping[str, Sequence[Path]], seed: int, limit: int | None, config_sha256: str
) -> dict[str, Any]:
    """What config.json says of every run: versions, seed, and the hashes of model, SAE, config and `files` by kind."""
    return {
        "latentwatch": monitor.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in _LIBRARIES},
        "seed": seed,
        "limit": limit,
        "config_sha256": config_sha256,
        "model": {"name": reader.model, "sha256": reader.model_sha256, "layer": reader.layer},
        "sae_sha256": reader.sae.sha256,
        **{kind: {str(path): file_sha256(path) for path in paths} for kind, paths in files.items()},
    }


def write_json(path: Path, data: Any) -> None:
    """Writes JSON that people can read, too."""
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_log(path: Path, rows: Mapping[str, int], notes: Iterable[str]) -> None:
    """Writes how many rows of each file took part, and the notes, one a line."""
    lines = [*(f"{name}: {count} rows" for name, count in rows.items()), *notes]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
