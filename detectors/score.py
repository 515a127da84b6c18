"""Score: a detector's score of one segment, and what each feature contributed to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Score:
    """One detector's score of one segment. Arrays are [feature], in the set's order.

    Evidence is ordered by `contributions`. A feature that did not help to reach the score has a contribution of 0
    or less.
    """

    value: float
    pooled: NDArray[np.float32]
    contributions: NDArray[np.float32]
    probe: float | None = None
    """What the set's probe adds to the logit; None without a probe."""

    @property
    def raised(self) -> float:
        """The sum of everything that raises the score: features and probe, without the bias."""
        return float(np.clip(self.contributions, 0, None).sum()) + max(self.probe or 0.0, 0.0)

    def divided_by(self, parts: int, value: float) -> Score:
        """The score as one of `parts` that make `value` together: everything contributes only its part."""
        probe = None if self.probe is None else self.probe / parts
        return Score(value, self.pooled, self.contributions / np.float32(parts), probe)
