"""Probe: a linear direction in the residual stream, which probe sets name by its hash."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.errors import ConfigError


@dataclass(frozen=True)
class Probe:
    """A token's projection is x @ `direction` + `offset`, for its residual stream x [d] at the sets' hook.

    The offset makes the projection 0 for a token without evidence, so that pooling may add such tokens.
    """

    sha256: str
    direction: NDArray[np.float32]  # [d]
    offset: float

    @classmethod
    def of(cls, direction: NDArray[np.float32], offset: float) -> Probe:
        """A probe named by the hash of its numbers: the same probe in two sets is read once."""
        numbers = np.append(direction, offset).astype("<f4")
        return cls(hashlib.sha256(numbers.tobytes()).hexdigest(), direction.astype(np.float32), offset)


def stacked(probes: Sequence[Probe], d: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """All directions [d, probe] and offsets [probe]. Raises ConfigError if one is not for width `d`."""
    for probe in probes:
        if probe.direction.size != d:
            raise ConfigError(f"a probe has {probe.direction.size} numbers, but the residual stream has width {d}")
    directions = np.zeros((d, len(probes)), np.float32)
    for n, probe in enumerate(probes):
        directions[:, n] = probe.direction
    return directions, np.array([probe.offset for probe in probes], np.float32)
