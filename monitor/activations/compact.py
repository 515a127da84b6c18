"""Compact: activations as a compiled graph hands them out, and as the columns that detectors look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ACTIVATIONS = "activations"  # [token, feature]: of an SAE whose latents stand each for itself
VALUES = "values"  # [token, k]: of a TopK SAE
LATENTS = "latents"  # [token, k]
RESIDUAL = "residual"  # [token, d_model]: the residual stream at the hook


@dataclass(frozen=True)
class Compact:
    """Activations of some tokens: `values` [token, slot] in the columns `columns` [token, slot].

    Without `columns`, slot i is column i. A column outside the features stands for a latent that no set looks at.
    """

    values: NDArray[np.float32]
    columns: NDArray[np.int32] | NDArray[np.int64] | None = None

    def rows(self, start: int, end: int) -> Compact:
        """A copy of tokens [start, end), which keeps nothing else alive."""
        columns = None if self.columns is None else self.columns[start:end].copy()
        return Compact(self.values[start:end].copy(), columns)


def dense(parts: Sequence[Compact], features: int) -> NDArray[np.float32]:
    """The parts, one after the other, as activations [token, feature]."""
    tokens = sum(part.values.shape[0] for part in parts)
    if all(part.columns is None for part in parts):
        whole = [part.values for part in parts]
        return np.concatenate(whole) if whole else np.zeros((0, features), np.float32)
    # one column more collects the latents that no set looks at
    result = np.zeros((tokens, features + 1), np.float32)
    at = 0
    for part in parts:
        size = part.values.shape[0]
        if part.columns is not None:
            np.put_along_axis(result[at : at + size], part.columns, part.values, axis=1)
        at += size
    return result[:, :features]
