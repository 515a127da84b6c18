"""Score: a detector's score of one segment, and what each feature contributed to it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Window:
    """The part of a long segment that has the highest score of all its windows."""

    start: int
    """Its first row of the segment."""
    stop: int
    """The row after its last one."""
    of: int
    """How many windows the segment has."""
    penalty: float
    """What came off the score because there are so many; log-odds if the score is logistic."""


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
    window: Window | None = None
    """Where the score comes from; None if it is the whole segment."""

    @property
    def raised(self) -> float:
        """The sum of everything that raises the score: features and probe, without the bias."""
        return float(np.clip(self.contributions, 0, None).sum()) + max(self.probe or 0.0, 0.0)

    def divided_by(self, parts: int, value: float) -> Score:
        """The score as one of `parts` that make `value` together: everything contributes only its part."""
        return replace(
            self,
            value=value,
            contributions=self.contributions / np.float32(parts),
            probe=None if self.probe is None else self.probe / parts,
            window=None if self.window is None else replace(self.window, penalty=self.window.penalty / parts),
        )
