"""The residual stream from a compiled bundle, several times faster than from torch on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.assembly.compiled_reader import open_reader
from monitor.errors import ConfigError
from monitor.readers.onnx.bundle import load_bundle
from monitor.readers.reader import Chunk, Past, Reader
from monitor.sets.probe import Probe


@dataclass(frozen=True)
class CompiledResidualReader:
    """A Reader whose columns are the residual stream [token, d_model]; infinite for tokens with massive activations.

    A compiled graph gives latents and probes only, so each dimension is read by a probe in its direction. Of a token
    with massive activations it gives zeros; they become infinite here, so that whoever limits the norm leaves them out.
    """

    reader: Reader
    d_model: int

    @property
    def max_tokens(self) -> int | None:
        """As of the compiled reader."""
        return self.reader.max_tokens

    @property
    def cached_tokens(self) -> int:
        """As of the compiled reader."""
        return self.reader.cached_tokens

    def read(self, chunks: Sequence[Chunk]) -> list[NDArray[np.float32]]:
        """The residual stream of each chunk."""
        found = (columns[:, -self.d_model :] for columns in self.reader.read(chunks))
        return [np.where(rows.any(axis=1, keepdims=True), rows, np.float32(np.inf)) for rows in found]

    def prefill(self, tokens: NDArray[np.int32]) -> Past:
        """As of the compiled reader."""
        return self.reader.prefill(tokens)


def compiled_residual_reader(folder: Path, model_sha256: str, layer: int) -> tuple[CompiledResidualReader, str]:
    """A reader of the bundle in `folder`, and what to call its precision; reads in int8, which is the faster one.

    The errors of int8 are small against what noise in labels does to a fit. Raises ConfigError if the bundle does not
    load, or is of another model or layer.
    """
    bundle = load_bundle(folder)
    model = bundle.manifest.model
    if (model.sha256, model.layer) != (model_sha256, layer):
        raise ConfigError(f"--bundle {folder}: made for another model or layer; make one with latentwatch compile")
    probes = [Probe.of(direction, 0.0) for direction in np.eye(model.d_model, dtype=np.float32)]
    reader = open_reader(bundle, "int8", [0], probes, cache_bytes=0)
    return CompiledResidualReader(reader, len(probes)), "int8"
