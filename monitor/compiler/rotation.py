"""Rotation: the residual stream turned by a random orthogonal matrix, which changes nothing but how well it rounds.

A few channels of the residual stream are many times larger than the rest, and a token's int8 scale has to reach them.
Turned at random, every channel carries a bit of each. The turn is folded into the weights on both sides, so that it
costs nothing when the model runs (Ashkboos et al. 2024, QuaRot).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def rotation(channels: int, seed: int = 0) -> NDArray[np.float32]:
    """An orthogonal matrix [channel, channel], the same for the same seed."""
    normal = np.random.default_rng(seed).standard_normal((channels, channels))
    q, r = np.linalg.qr(normal)
    return (q * np.sign(np.diag(r))).astype(np.float32)
