"""Score: what a detector says about one segment, and how much each feature had to do with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Score:
    """One detector's reading of one segment. Arrays are [feature], in the set's order.

    `contributions` are zero for features that did not speak for the match; they are what the evidence is ordered by.
    """

    value: float
    pooled: NDArray[np.float32]
    contributions: NDArray[np.float32]
    probe: float | None = None
    """What the set's probe adds to the logit; None without a probe."""

    def shared(self, value: float, parts: int) -> Score:
        """As one of `parts` scores that make `value` together: what it contributes is that much less."""
        probe = None if self.probe is None else self.probe / parts
        return Score(value, self.pooled, self.contributions / np.float32(parts), probe)


class Detector(Protocol):
    """Scores segments; a segment matches when its score reaches `threshold`. Pure: no state, no I/O."""

    @property
    def threshold(self) -> float:
        """The score from which the set counts as active."""

    @property
    def unit(self) -> str:
        """What the score counts."""

    def distance(self, score: float) -> float:
        """How far a score lies above the threshold: in log-odds where scores are logistic, else in their unit."""

    def mean(self, scores: Sequence[float]) -> float:
        """The mean of several scores, in the unit of `distance`."""

    def score(self, pooled: NDArray[np.float32]) -> Score:
        """Scores pooled activations [column], in the order of FeatureSet.columns."""
