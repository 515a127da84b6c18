"""Norms of decoder rows, which folded activations and some thresholds are measured in."""

from __future__ import annotations

import numpy as np

from monitor.errors import ConfigError
from monitor.sae.weights import Array


def decoder_norm(w_dec: Array) -> Array:
    """The length [s] of every row of `w_dec` [s, d]. Raises ConfigError if one is too long for float32."""
    with np.errstate(over="ignore"):
        norms: Array = np.linalg.norm(w_dec, axis=1).astype(np.float32)
    if not np.isfinite(norms).all():
        row = int(np.flatnonzero(~np.isfinite(norms))[0])
        raise ConfigError(f"the decoder row of latent {row} is longer than float32 can say; is the file damaged?")
    return norms


def threshold_without_norm(threshold: Array, norm: Array) -> Array:
    """The threshold of pre, if `threshold` [s] is that of pre * `norm`; no pre exceeds that of a row of length 0."""
    largest = np.finfo(np.float32).max
    with np.errstate(divide="ignore", over="ignore"):
        return np.where(norm > 0, np.minimum(threshold / norm, largest), largest).astype(np.float32)
