"""Rotation: a random orthogonal matrix for the residual stream, so that int8 rounds it with less error.

A few channels of the residual stream are many times larger than the rest, and a token's int8 scale has to reach them.
After a random rotation, every channel has a share of each. The rotation is folded into the weights on both sides, so
it costs nothing when the model runs and changes no result (Ashkboos et al. 2024, QuaRot).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray


@cache
def rotation(channels: int, seed: int = 0) -> NDArray[np.float32]:
    """An orthogonal matrix [channel, channel], the same for the same seed."""
    normal = np.random.default_rng(seed).standard_normal((channels, channels))
    q, r = np.linalg.qr(normal)
    turn: NDArray[np.float32] = (q * np.sign(np.diag(r))).astype(np.float32)
    turn.setflags(write=False)  # everybody gets the same array
    return turn
