"""Score: what a detector says about one segment, and how much each feature had to do with it."""

from __future__ import annotations

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

    def score(self, pooled: NDArray[np.float32]) -> Score:
        """Scores pooled activations [column], in the order of FeatureSet.columns."""
