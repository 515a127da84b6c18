"""ModelWeights: the tensors of a model folder as float32, one at a time, without torch."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from monitor.compiler.expected_tensors import Shape
from monitor.errors import ConfigError
from monitor.model.files import CONFIG_FILE, UNQUANTISED, ModelFiles
from monitor.model.four_bit import FourBitWeight
from monitor.model.gguf_model import GgufModel
from monitor.model.narrow import narrowed
from monitor.model.text_file import read_object

_FLOATS = ("F64", "F32", "F16", "BF16")
# Frequencies that older versions of transformers stored
_BLOCK = re.compile(r"layers\.(\d+)\.")
_BUFFERS = ("rotary_emb.inv_freq",)


class ModelTensors(Protocol):
    """The tensors of a language model. Raises ConfigError if one cannot be read."""

    def get(self, name: str) -> NDArray[np.float32]:
        """A tensor by its name inside the language model, such as `layers.0.mlp.up_proj.weight`."""

    def four_bit(self, name: str) -> FourBitWeight | None:
        """The same tensor in 4 bits, if the model's file holds it so."""

    def embeddings(self) -> tuple[NDArray[Any], NDArray[np.float16] | None]:
        """The table [vocabulary, d_model] and, if it is in int8, its scales; see EmbeddingTable."""


def open_model(model: ModelFiles | GgufModel) -> tuple[dict[str, Any], ModelTensors]:
    """Config and tensors of a model. Raises ConfigError if they cannot be read."""
    if isinstance(model, GgufModel):
        return model.config(), model
    return read_config(model.folder), ModelWeights(model.folder)


class ModelWeights:
    """The *.safetensors files of a folder in transformers layout. A tensor is read only when you ask for it."""

    def __init__(self, folder: Path) -> None:
        """Raises ConfigError if a file cannot be opened."""
        # this import teaches numpy the name bfloat16
        importlib.import_module("ml_dtypes")
        self.folder = folder
        self._files: dict[str, Any] = {}
        for path in sorted(folder.glob("*.safetensors")):
            try:
                file: Any = safe_open(path, "numpy")
            except (SafetensorError, OSError) as e:
                raise ConfigError(f"{path}: not readable as safetensors: {e}") from None
            self._files |= dict.fromkeys(file.keys(), file)
        # in a model of text and images, the language model is one level deeper, with one of two names
        prefixes = ("model.", "model.language_model.", "language_model.model.", "")
        self._prefix = next((p for p in prefixes if f"{p}norm.weight" in self._files), "")

    def check(self, expected: Mapping[str, Shape], blocks: int) -> None:
        """Raises ConfigError if the model is not what its config.json describes.

        A tensor of the first `blocks` blocks that is missing, is left over or has another shape, and weights that are
        quantised, such as fp8 with scales.
        """
        problems = [problem for name, shape in expected.items() if (problem := self._problem(name, shape))]
        for name in sorted(self._files):
            inner = name.removeprefix(self._prefix)
            block = _BLOCK.match(inner) if name.startswith(self._prefix) else None
            if block is not None and int(block[1]) < blocks and inner not in expected and not inner.endswith(_BUFFERS):
                problems.append(f"{self.folder}: {name} has no place in the model that config.json describes")
        if problems:
            more = f" (and {len(problems) - 1} more of its tensors are wrong)" if len(problems) > 1 else ""
            raise ConfigError(f"{problems[0]}{more}; reader.engine: torch may read it")

    def _unusable(self, name: str) -> str:
        """Why a tensor is not read; empty if it is."""
        full = self._prefix + name
        if full not in self._files:
            return f"{self.folder}: no tensor {full} in its safetensors files"
        kind = self._files[full].get_slice(full).get_dtype()
        if kind not in _FLOATS:
            return f"{self.folder}: {full} is {kind}: quantised weights cannot be built as a graph; {UNQUANTISED}"
        return ""

    def _problem(self, name: str, shape: Shape) -> str:
        if problem := self._unusable(name):
            return problem
        full = self._prefix + name
        found = tuple(self._files[full].get_slice(full).get_shape())
        if len(found) != len(shape) or any(w is not None and f != w for f, w in zip(found, shape, strict=True)):
            wanted = [("any" if size is None else str(size)) for size in shape]
            return f"{self.folder}: {full} has shape {list(found)}, but config.json describes [{', '.join(wanted)}]"
        return ""

    def get(self, name: str) -> NDArray[np.float32]:
        """A tensor by its name inside the language model, such as `layers.0.mlp.up_proj.weight`."""
        if problem := self._unusable(name):
            raise ConfigError(problem)
        stored: NDArray[Any] = self._files[self._prefix + name].get_tensor(self._prefix + name)
        return stored.astype(np.float32)

    def four_bit(self, name: str) -> FourBitWeight | None:  # noqa: ARG002 - safetensors have floats only
        """None."""
        return None

    def embeddings(self) -> tuple[NDArray[Any], NDArray[np.float16] | None]:
        """The table [vocabulary, d_model], in 16 bits if that loses nothing."""
        return narrowed(self.get("embed_tokens.weight")), None


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a model folder; for a model of text and images, the part about text."""
    config = read_object(folder / CONFIG_FILE)
    text = config.get("text_config")
    return text if isinstance(text, dict) else config
