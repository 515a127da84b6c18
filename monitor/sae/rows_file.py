"""RowsFile: the curated encoder rows in one safetensors file, for a serving engine to multiply with."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from monitor.errors import ConfigError
from monitor.sae.rows import EncoderRows, RowsInfo

_KEY = "latentwatch_rows"


def save_rows(path: Path, rows: EncoderRows, info: RowsInfo) -> None:
    """Writes `weight` [row, d] and `bias` [row] of latents and then probes, and what decides which latents are active.

    Raises ConfigError if that fails, or for a TopK SAE, whose latents can't be cut down to a few.
    """
    if rows.architecture == "topk":
        raise ConfigError(
            "all latents of a TopK SAE decide which are active, so a few rows don't tell; send hidden_states"
        )
    if path.exists():
        raise ConfigError(f"{path}: exists already; name another file or remove it")
    tensors: dict[str, NDArray[Any]] = {
        "weight": np.ascontiguousarray(np.concatenate([rows.weight, rows.directions], axis=1).T),
        "bias": np.concatenate([rows.bias, rows.offsets]),
    }
    for name in ("threshold", "gate", "gain", "magnitude", "scale"):
        array = getattr(rows, name)
        if array is not None:
            tensors[name] = np.ascontiguousarray(array)
    facts = asdict(info) | {
        "architecture": rows.architecture,
        "normalisation": rows.normalisation,
        "rows_sha256": info.sha256(),
    }
    try:
        save_file(tensors, path, {_KEY: json.dumps(facts, sort_keys=True)})
        path.chmod(0o644)  # safetensors lets only the owner read, but a server runs as another user
    except (OSError, SafetensorError) as e:
        raise ConfigError(f"{path}: cannot be written: {e}") from None


def load_rows_info(path: Path) -> RowsInfo:
    """What the rows of a file that `save_rows` wrote are of. Raises ConfigError if it isn't one."""
    try:
        with safe_open(path, "numpy") as file:
            facts = json.loads((file.metadata() or {})[_KEY])
        known = {name: facts[name] for name in RowsInfo.__dataclass_fields__}
        return RowsInfo(**known | {"latents": tuple(known["latents"]), "probes": tuple(known["probes"])})
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as e:
        raise ConfigError(f"{path}: not a file that export-rows wrote: {e}") from None
