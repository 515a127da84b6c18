"""SparseActivations: what a compiled graph puts out for some tokens, without most of the zeros."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

ACTIVATIONS = "activations"  # [token, feature]: an SAE whose latents don't depend on each other
VALUES = "values"  # [token, k]: a TopK SAE
LATENTS = "latents"  # [token, k]
RESIDUAL = "residual"  # [token, d_model]: the residual stream at the hook


@dataclass(frozen=True)
class SparseActivations:
    """Activations of some tokens: `values` [token, slot], in the columns `columns` [token, slot].

    If `columns` is None, slot i is column i. A column number past the last feature means that no set uses the latent.
    """

    values: NDArray[np.float32]
    columns: NDArray[np.int32] | NDArray[np.int64] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of both arrays."""
        return self.values.nbytes + (0 if self.columns is None else self.columns.nbytes)

    def to_sparse(self, features: int) -> SparseActivations:
        """A copy without most of the zeros. It shares no memory with the original, so that can be freed.

        `features` is the number of columns. Column `features`, one past the last, fills the slots of tokens that have
        fewer active latents than others.
        """
        values = self.values
        if self.columns is not None:
            return SparseActivations(values.copy(), self.columns.copy())
        # comparing first is ten times faster than np.nonzero on floats, and one flat search faster than two axes
        entries = np.flatnonzero(values.ravel() != 0)
        tokens, columns = np.divmod(entries, values.shape[1])
        counts = np.bincount(tokens, minlength=values.shape[0])
        slots = int(counts.max(initial=0))
        if 2 * slots >= features:  # a column number takes as much memory as a value
            return SparseActivations(values.copy())
        slot = np.arange(tokens.size) - np.repeat(np.cumsum(counts) - counts, counts)
        active = np.zeros((values.shape[0], slots), np.float32)
        where = np.full(active.shape, features, np.int32)
        active[tokens, slot] = values.ravel()[entries]
        where[tokens, slot] = columns
        return SparseActivations(active, where)


def slice_tokens(parts: Sequence[SparseActivations], start: int, end: int, features: int) -> SparseActivations:
    """Tokens [start, end) of consecutive parts, as a copy made by `to_sparse`."""
    pieces = []
    for part in parts:
        size = part.values.shape[0]
        if start < size and end > 0:
            tokens = slice(max(start, 0), end)
            columns = None if part.columns is None else part.columns[tokens]
            pieces.append(SparseActivations(part.values[tokens], columns))
        start, end = start - size, end - size
    whole = pieces[0] if len(pieces) == 1 else SparseActivations(to_dense(pieces, features))
    return whole.to_sparse(features)


def side_by_side(parts: Sequence[SparseActivations], features: Sequence[int]) -> SparseActivations:
    """The same tokens at several hook points, each of which has `features` columns, as columns next to each other."""
    total, first = sum(features), 0
    columns = []
    for part, count in zip(parts, features, strict=True):
        own = np.arange(part.values.shape[1], dtype=np.int32)[None] if part.columns is None else part.columns
        moved = np.where(own < count, own + first, total).astype(np.int32)
        columns.append(np.broadcast_to(moved, part.values.shape))
        first += count
    return SparseActivations(np.concatenate([part.values for part in parts], axis=1), np.concatenate(columns, axis=1))


def to_dense(parts: Sequence[SparseActivations], features: int) -> NDArray[np.float32]:
    """Consecutive parts as activations [token, feature]."""
    tokens = sum(part.values.shape[0] for part in parts)
    if all(part.columns is None for part in parts):
        whole = [part.values for part in parts]
        if len(whole) == 1:
            return whole[0]
        return np.concatenate(whole) if whole else np.zeros((0, features), np.float32)
    # one extra column collects the latents that no set uses
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


class DenseTexts(Sequence[NDArray[np.float32]]):
    """Activations [token, feature] of several texts. Each one is built from its parts when you ask for it.

    Building all of them at once would fill many times more memory than the values that aren't 0 need, and writing to
    fresh memory costs more than copying.
    """

    def __init__(self, texts: Sequence[Sequence[SparseActivations]], features: int) -> None:
        self._texts = texts
        self._features = features

    def __len__(self) -> int:
        return len(self._texts)

    @overload
    def __getitem__(self, at: int) -> NDArray[np.float32]: ...

    @overload
    def __getitem__(self, at: slice) -> DenseTexts: ...

    def __getitem__(self, at: int | slice) -> NDArray[np.float32] | DenseTexts:
        if isinstance(at, slice):
            return DenseTexts(self._texts[at], self._features)
        return to_dense(self._texts[at], self._features)
