"""FourBitWeight: a weight of a model in blocks of 4-bit levels, as some model files hold it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK = 32
"""Channels that share a unit and an offset."""


@dataclass(frozen=True)
class FourBitWeight:
    """Each value is its block's unit times a level, plus the block's offset.

    `levels` [out, block, BLOCK] are 0 to 15, `units` and `offsets` [out, block] are float32.
    """

    levels: NDArray[np.uint8]
    units: NDArray[np.float32]
    offsets: NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, int]:
        """Channels and outputs, as of the dense weight [channel, out]."""
        outputs, blocks, size = self.levels.shape
        return blocks * size, outputs

    def times(self, factor: float) -> FourBitWeight:
        """The weight multiplied by a number."""
        return FourBitWeight(self.levels, self.units * np.float32(factor), self.offsets * np.float32(factor))

    def dense(self) -> NDArray[np.float32]:
        """The values [channel, out]."""
        values = self.levels * self.units[:, :, None] + self.offsets[:, :, None]
        return values.reshape(self.shape[::-1]).T

    @classmethod
    def side_by_side(cls, weights: Sequence[FourBitWeight]) -> FourBitWeight:
        """One weight with the outputs of all `weights` in order; they read the same channels."""
        return cls(
            np.concatenate([w.levels for w in weights]),
            np.concatenate([w.units for w in weights]),
            np.concatenate([w.offsets for w in weights]),
        )
