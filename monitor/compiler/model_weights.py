"""ModelWeights: the tensors of a model folder as float32, one at a time, without torch."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from monitor.errors import ConfigError


class ModelWeights:
    """Opens the *.safetensors files of a folder in transformers layout; reads no tensor before it is asked for."""

    def __init__(self, folder: Path) -> None:
        """Raises ConfigError where a file cannot be opened."""
        # numpy knows bfloat16 by name once this is imported
        importlib.import_module("ml_dtypes")
        self.folder = folder
        self._files: dict[str, Any] = {}
        for path in sorted(folder.glob("*.safetensors")):
            try:
                file: Any = safe_open(path, "numpy")
            except (SafetensorError, OSError) as e:
                raise ConfigError(f"{path}: not readable as safetensors: {e}") from None
            self._files |= dict.fromkeys(file.keys(), file)
        # a model of text and images keeps its language model one level deeper
        self._prefix = next(
            (p for p in ("model.", "model.language_model.", "") if f"{p}norm.weight" in self._files), ""
        )

    def get(self, name: str) -> NDArray[np.float32]:
        """A tensor by its name below the language model, such as `layers.0.mlp.up_proj.weight`."""
        full = self._prefix + name
        if full not in self._files:
            raise ConfigError(f"{self.folder}: no tensor {full} in its safetensors files")
        values: NDArray[np.float32] = self._files[full].get_tensor(full).astype(np.float32)
        return values


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a model folder; of a model of text and images, the part about text."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text())
    except OSError as e:
        raise ConfigError(f"{path}: cannot be read: {e.strerror}") from None
    except ValueError as e:
        raise ConfigError(f"{path}: not JSON: {e}") from None
    if not isinstance(config, dict):
        raise ConfigError(f"{path}: expected an object")
    text = config.get("text_config")
    return text if isinstance(text, dict) else config
