"""Pooling: turns activations over a segment's tokens into one number per feature."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from detectors.frozen_model import Finite, FrozenModel


class Pooling(FrozenModel):
    """How the activations of one feature over the tokens of a segment become one number."""

    kind: Literal["max", "mean", "topk_mean", "count"]
    k: Annotated[int, Field(gt=0)] | None = None
    """topk_mean: mean over the k strongest tokens (over all tokens if there are fewer)."""
    above: Finite | None = None
    """count: number of tokens with an activation above this."""
    prior_tokens: Annotated[int, Field(ge=0)] = 0
    """mean: this many tokens without activation are added, so that a few tokens do not make a high mean."""
    window_tokens: Annotated[int, Field(gt=0, multiple_of=2)] | None = None
    """mean: a longer segment is pooled in windows of this many tokens, each half over the next, and the window with
    the highest score decides. Without it, the mean is over the whole segment however long it is."""
    window_penalty: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """The score of a segment falls by this times ln(number of its windows), because the highest of many is high by
    chance; log-odds if the score is logistic."""

    @model_validator(mode="after")
    def _parameters(self) -> Pooling:
        if (self.k is not None) != (self.kind == "topk_mean"):
            raise ValueError("k is required for topk_mean, and not allowed otherwise")
        if (self.above is not None) != (self.kind == "count"):
            raise ValueError("above is required for count, and not allowed otherwise")
        if self.prior_tokens and self.kind != "mean":
            raise ValueError("prior_tokens is only allowed for mean")
        if self.window_tokens and self.kind != "mean":
            raise ValueError("window_tokens is only allowed for mean")
        if self.window_penalty and not self.window_tokens:
            raise ValueError("window_penalty is only allowed with window_tokens")
        return self

    def windows(self, tokens: int) -> list[tuple[int, int]]:
        """The windows of a segment of so many tokens as rows [start, stop); one if it is not pooled in several.

        The last one may be shorter, but has more than half of `window_tokens`.
        """
        size = self.window_tokens
        if size is None or tokens <= size:
            return [(0, tokens)]
        step = size // 2
        return [(start, min(start + size, tokens)) for start in range(0, tokens - step, step)]


def pool_windows(values: NDArray[np.float32], pooling: Pooling) -> NDArray[np.float32]:
    """Pools `values` [token, feature] into [window, feature], as `pool` does; one row for each of Pooling.windows."""
    windows = pooling.windows(values.shape[0])
    if len(windows) == 1 or pooling.window_tokens is None:
        return pool(values, pooling)[None]
    step = pooling.window_tokens // 2
    starts = range(0, values.shape[0], step)
    # every token belongs to two windows, and is added up once (np.add.reduceat is ten times slower)
    halves = np.stack([values[start : start + step].sum(axis=0, dtype=np.float32) for start in starts])
    tokens = np.array([stop - start for start, stop in windows], dtype=np.float32)
    pooled: NDArray[np.float32] = (halves[:-1] + halves[1:]) / (tokens[:, None] + np.float32(pooling.prior_tokens))
    return pooled


def pool(values: NDArray[np.float32], pooling: Pooling) -> NDArray[np.float32]:
    """Pools `values` [token, feature] into [feature], without windows. Raises ValueError if there is no token.

    A value that is not finite stays so, and the caller must check: a comparison with it would mean nothing.
    """
    if values.shape[0] == 0:
        raise ValueError("a segment without tokens has nothing to pool")
    pooled: NDArray[np.float32]
    if pooling.kind == "max":
        pooled = values.max(axis=0)
    elif pooling.kind == "mean":
        pooled = values.sum(axis=0, dtype=np.float32) / np.float32(values.shape[0] + pooling.prior_tokens)
    elif pooling.above is not None:  # count
        pooled = (values > pooling.above).sum(axis=0).astype(np.float32)
        pooled[~np.isfinite(values).all(axis=0)] = np.nan
    else:
        k = min(pooling.k or 1, values.shape[0])
        strongest = np.partition(values, values.shape[0] - k, axis=0)[-k:]  # [k, feature]
        pooled = strongest.mean(axis=0, dtype=np.float32)
    return pooled
