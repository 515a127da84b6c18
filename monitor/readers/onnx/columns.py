"""OutputColumns: what makes the columns of a reader: inputs of the graph, and how its outputs are ordered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.readers.onnx.sparse import ACTIVATIONS, LATENTS, VALUES, SparseActivations, side_by_side


@dataclass(frozen=True)
class OutputColumns:
    """The encoder rows that a graph multiplies with, and the columns that come out of it."""

    inputs: Mapping[str, NDArray[Any]] = field(repr=False)
    """Fed to the graph with every run."""
    features: int
    """Number of columns."""
    of_latent: NDArray[np.int32] | None = field(default=None, repr=False)
    """Only for a TopK SAE: the column of each latent that the graph may put out; `features` = of no column."""
    suffix: str = ""
    """What the names of the graph's outputs end with at this hook point."""

    @property
    def outputs(self) -> list[str]:
        """The graph's outputs that the activations come from."""
        names = [ACTIVATIONS] if self.of_latent is None else [VALUES, LATENTS]
        return [name + self.suffix for name in names]

    def activations(self, outputs: Sequence[NDArray[np.float32]], start: int, end: int) -> SparseActivations:
        """The activations of tokens [start, end) of a run that gave `outputs` [token, slot]."""
        if self.of_latent is None:
            return SparseActivations(outputs[0][start:end]).to_sparse(self.features)
        return SparseActivations(outputs[0][start:end].copy(), self.of_latent[outputs[1][start:end]])


@dataclass(frozen=True)
class JoinedColumns:
    """The columns of several hook points, one after the other."""

    parts: tuple[OutputColumns, ...]

    @property
    def inputs(self) -> Mapping[str, NDArray[Any]]:
        """Fed to the graph with every run."""
        return {name: values for part in self.parts for name, values in part.inputs.items()}

    @property
    def features(self) -> int:
        """Number of columns."""
        return sum(part.features for part in self.parts)

    @property
    def outputs(self) -> list[str]:
        """The graph's outputs that the activations come from."""
        return [name for part in self.parts for name in part.outputs]

    def activations(self, outputs: Sequence[NDArray[np.float32]], start: int, end: int) -> SparseActivations:
        """The activations of tokens [start, end) of a run that gave `outputs` [token, slot]."""
        found, at = [], 0
        for part in self.parts:
            count = len(part.outputs)
            found.append(part.activations(outputs[at : at + count], start, end))
            at += count
        return side_by_side(found, [part.features for part in self.parts])


Columns = OutputColumns | JoinedColumns


def join_columns(parts: Sequence[OutputColumns]) -> Columns:
    """The columns of all hook points; those of a single one stay as they are."""
    return parts[0] if len(parts) == 1 else JoinedColumns(tuple(parts))
