"""Compact: activations as a compiled graph hands them out, and as the columns that detectors look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

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

    @property
    def nbytes(self) -> int:
        """Of the arrays."""
        return self.values.nbytes + (0 if self.columns is None else self.columns.nbytes)

    def kept(self, features: int) -> Compact:
        """A copy that keeps nothing else alive, without most of what is 0.

        `features` is the number of columns; the column behind the last one fills tokens that have less than others.
        """
        values = self.values
        if self.columns is not None:
            return Compact(values.copy(), self.columns.copy())
        # comparing first is ten times faster than np.nonzero on floats, and one flat search faster than two axes
        entries = np.flatnonzero(values.ravel() != 0)
        tokens, columns = np.divmod(entries, values.shape[1])
        counts = np.bincount(tokens, minlength=values.shape[0])
        slots = int(counts.max(initial=0))
        if 2 * slots >= features:  # a column number takes as much as a value
            return Compact(values.copy())
        slot = np.arange(tokens.size) - np.repeat(np.cumsum(counts) - counts, counts)
        active = np.zeros((values.shape[0], slots), np.float32)
        where = np.full(active.shape, features, np.int32)
        active[tokens, slot] = values.ravel()[entries]
        where[tokens, slot] = columns
        return Compact(active, where)


def cut(parts: Sequence[Compact], start: int, end: int, features: int) -> Compact:
    """Tokens [start, end) of parts that come one after the other, as `kept` of them."""
    pieces = []
    for part in parts:
        size = part.values.shape[0]
        if start < size and end > 0:
            tokens = slice(max(start, 0), end)
            pieces.append(Compact(part.values[tokens], None if part.columns is None else part.columns[tokens]))
        start, end = start - size, end - size
    return (pieces[0] if len(pieces) == 1 else Compact(dense(pieces, features))).kept(features)


def dense(parts: Sequence[Compact], features: int) -> NDArray[np.float32]:
    """The parts, one after the other, as activations [token, feature]."""
    tokens = sum(part.values.shape[0] for part in parts)
    if all(part.columns is None for part in parts):
        whole = [part.values for part in parts]
        if len(whole) == 1:
            return whole[0]
        return np.concatenate(whole) if whole else np.zeros((0, features), np.float32)
    # one column more collects the latents that no set looks at
    result = np.zeros((tokens, features + 1), np.float32)
    at = 0
    for part in parts:
        size = part.values.shape[0]
        if part.columns is None:
            result[at : at + size, :features] = part.values
        else:
            np.put_along_axis(result[at : at + size], part.columns, part.values, axis=1)
        at += size
    return result[:, :features]


class Dense(Sequence[NDArray[np.float32]]):
    """Activations [token, feature] of several texts, each made of its parts whenever it is asked for.

    All of them at once would fill fresh memory many times the size of what is not 0, which costs more than copying.
    """

    def __init__(self, texts: Sequence[Sequence[Compact]], features: int) -> None:
        self._texts = texts
        self._features = features

    def __len__(self) -> int:
        return len(self._texts)

    @overload
    def __getitem__(self, at: int) -> NDArray[np.float32]: ...

    @overload
    def __getitem__(self, at: slice) -> Dense: ...

    def __getitem__(self, at: int | slice) -> NDArray[np.float32] | Dense:
        if isinstance(at, slice):
            return Dense(self._texts[at], self._features)
        return dense(self._texts[at], self._features)
