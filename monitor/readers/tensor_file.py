"""Reads a safetensors file as numpy arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from monitor.errors import ConfigError


def load_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """All tensors of the file. Raises ConfigError if it cannot be read."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as e:
        raise ConfigError(f"{path}: not readable as safetensors: {e}") from None
