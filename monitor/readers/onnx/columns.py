"""OutputColumns: which of a graph's outputs are the columns of a reader."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from monitor.errors import ConfigError
from monitor.readers.onnx.graph import GraphShape
from monitor.readers.onnx.sparse import ACTIVATIONS, LATENTS, VALUES, SparseActivations


class OutputColumns:
    """Takes the activations of the wanted latents (and probes) from what a graph puts out.

    `outputs` are the names of the graph's outputs that it needs, `features` is the number of columns.
    """

    def __init__(self, shape: GraphShape, latents: Sequence[int]) -> None:
        """`latents` are the numbers of the columns. Raises ConfigError if the graph lacks one."""
        self.features = len(latents)
        self.outputs = [VALUES, LATENTS] if shape.latents is None else [ACTIVATIONS]
        self._topk = shape.latents is None
        self._columns = _columns(shape, latents)
        self._all = np.array_equal(self._columns, np.arange(shape.slots))

    def activations(self, outputs: Sequence[NDArray[np.float32]], start: int, end: int) -> SparseActivations:
        """The activations of tokens [start, end) of a run that gave `outputs` [token, slot]."""
        if self._topk:
            return SparseActivations(outputs[0][start:end].copy(), self._columns[outputs[1][start:end]])
        rows = outputs[0][start:end]
        return SparseActivations(rows if self._all else rows[:, self._columns]).to_sparse(self.features)


def _columns(shape: GraphShape, latents: Sequence[int]) -> NDArray[np.int32]:
    """The graph's column of every wanted latent; for TopK, the wanted column of every latent of the SAE."""
    if shape.latents is None:
        columns = np.full(shape.width, len(latents), dtype=np.int32)
        columns[list(latents)] = np.arange(len(latents))
        return columns
    at = {latent: n for n, latent in enumerate(shape.latents)}
    missing = [latent for latent in latents if latent not in at]
    if missing:
        raise ConfigError(f"the compiled graph has no latent {missing[0]}; compile it again for these feature sets")
    return np.array([at[latent] for latent in latents], dtype=np.int32)
