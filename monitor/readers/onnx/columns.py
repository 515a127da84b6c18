"""OutputColumns: what makes the columns of a reader: inputs of the graph, and how its outputs are ordered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.readers.onnx.sparse import ACTIVATIONS, LATENTS, VALUES, SparseActivations


@dataclass(frozen=True)
class OutputColumns:
    """The encoder rows that a graph multiplies with, and the columns that come out of it."""

    inputs: Mapping[str, NDArray[Any]] = field(repr=False)
    """Fed to the graph with every run."""
    features: int
    """Number of columns."""
    of_latent: NDArray[np.int32] | None = field(default=None, repr=False)
    """Only for a TopK SAE: the column of each latent that the graph may put out; `features` = of no column."""

    @property
    def outputs(self) -> list[str]:
        """The graph's outputs that the activations come from."""
        return [ACTIVATIONS] if self.of_latent is None else [VALUES, LATENTS]

    def activations(self, outputs: Sequence[NDArray[np.float32]], start: int, end: int) -> SparseActivations:
        """The activations of tokens [start, end) of a run that gave `outputs` [token, slot]."""
        if self.of_latent is None:
            return SparseActivations(outputs[0][start:end]).to_sparse(self.features)
        return SparseActivations(outputs[0][start:end].copy(), self.of_latent[outputs[1][start:end]])
