"""GgufModel: a reader model in a GGUF file, opened without converting it first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from monitor.errors import ConfigError
from monitor.model.gguf.convert import convert, needed_for
from monitor.model.narrow import narrowed

if TYPE_CHECKING:
    from monitor.model.four_bit import FourBitWeight
    from monitor.model.gguf.file import GgufFile


@dataclass(frozen=True)
class GgufModel:
    """A GGUF file and the SHA-256 of its bytes. Everything but `name` raises ConfigError if the file is not usable."""

    path: Path
    sha256: str
    conversion: Path
    """The folder that it is converted into for torch."""

    @property
    def name(self) -> str:
        """For people."""
        return self.path.stem

    def config(self) -> dict[str, Any]:
        """The config.json that transformers would have."""
        with self._errors():
            from monitor.model.gguf.config import config_of

            return config_of(self._file)

    def write_texts(self, folder: Path) -> None:
        """Writes tokenizer.json, tokenizer_config.json and the chat template to `folder`."""
        with self._errors():
            from monitor.model.gguf.tokenizer import write_texts

            write_texts(self._file, folder)

    def get(self, name: str) -> NDArray[np.float32]:
        """A tensor by its name inside the language model, such as `layers.0.mlp.up_proj.weight`."""
        with self._errors():
            from monitor.model.gguf.weights import decoded

            return decoded(self._file, self._tensor_name(name))

    def four_bit(self, name: str) -> FourBitWeight | None:
        """The same tensor as the file holds it, if that is in 4 bits."""
        with self._errors():
            from monitor.model.gguf.weights import four_bit

            return four_bit(self._file, self._tensor_name(name))

    def embeddings(self) -> tuple[NDArray[Any], NDArray[np.float16] | None]:
        """The table [vocabulary, d_model] in few bytes: int8 with the scales of its blocks, or as `narrowed` has it."""
        with self._errors():
            from monitor.model.gguf.weights import split_int8_blocks

            tensor = self._file.tensors["token_embd.weight"]
            if tensor.kind.name == "Q8_0":
                return split_int8_blocks(tensor)
        return narrowed(self.get("embed_tokens.weight")), None

    def converted_folder(self) -> Path:
        """The folder in transformers layout, after converting the model if that was never done."""
        if not self.is_converted():
            convert(self.path, self.conversion)
        return self.conversion

    def is_converted(self) -> bool:
        """Whether `converted_folder` has nothing to do."""
        return (self.conversion / "config.json").is_file()

    @cached_property
    def _file(self) -> GgufFile:
        from monitor.model.gguf.file import GgufFile

        return GgufFile.open(self.path)

    @cached_property
    def _names(self) -> dict[str, str]:
        from monitor.model.gguf.config import tensor_names

        return {new.removeprefix("model."): old for old, new in tensor_names(self._file).items()}

    def _tensor_name(self, name: str) -> str:
        if name not in self._names:
            raise ValueError(f"no tensor {name}")
        return self._names[name]

    @contextmanager
    def _errors(self) -> Iterator[None]:
        needed_for(f"{self.path.name}: reading it")
        try:
            yield
        except (ValueError, OSError) as e:
            raise ConfigError(f"{self.path}: cannot be read: {e}") from e
