"""Pooling: from activations over a segment's tokens to one number a feature."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.feature_set import Pooling


def pool(values: NDArray[np.float32], pooling: Pooling) -> NDArray[np.float32]:
    """Pools `values` [token, feature] into [feature]. Needs at least one token.

    What is not finite stays so: a comparison with it would say anything, so that the caller must look.
    """
    if values.shape[0] == 0:
        raise ValueError("a segment without tokens has nothing to pool")
    pooled: NDArray[np.float32]
    if pooling.kind == "max":
        pooled = values.max(axis=0)
    elif pooling.kind == "mean":
        pooled = values.sum(axis=0, dtype=np.float32) / np.float32(values.shape[0] + pooling.prior_tokens)
    elif pooling.over is not None:  # count
        pooled = (values > pooling.over).sum(axis=0).astype(np.float32)
        pooled[~np.isfinite(values).all(axis=0)] = np.nan
    else:
        k = min(pooling.k or 1, values.shape[0])
        strongest = np.partition(values, values.shape[0] - k, axis=0)[-k:]  # [k, feature]
        pooled = strongest.mean(axis=0, dtype=np.float32)
    return pooled
