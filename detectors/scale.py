"""Scale: the unit of a detector's scores, how they are compared, and how views show them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Scores on a linear scale, such as sums of activations."""

    unit: str
    """The name in alerts, metrics and calibrations."""
    label: str
    """What a view writes after a score and its threshold."""
    contribution_label: str = "to the score"
    """What a view writes after a contribution."""
    highest: float | None = None
    """The highest possible score; None if there is no limit."""
    lowest: float | None = None
    """The lowest possible score; None if there is no limit."""

    def refusal(self, threshold: float) -> str:
        """Why no set can have this threshold; empty if one can."""
        if self.highest is not None and threshold > self.highest:
            return f"{threshold:g} is never reached, because scores are {self.highest:g} at most; use enabled: false"
        if self.lowest is not None and threshold < self.lowest:
            return f"{threshold:g} is below every score, because scores are {self.lowest:g} at least"
        return ""

    def margin(self, score: float, threshold: float) -> float:
        """How far `score` lies above `threshold`; below 0 if it doesn't reach it."""
        return score - threshold

    def mean(self, scores: Sequence[float]) -> float:
        """The mean of several scores."""
        return sum(scores) / len(scores)

    def lowered(self, score: float, by: float) -> float:
        """The score whose margin over any threshold is smaller by `by`."""
        return score - by


@dataclass(frozen=True)
class LogisticScale(Scale):
    """Scores between 0 and 1 that are compared and averaged as log-odds."""

    def margin(self, score: float, threshold: float) -> float:
        return log_odds(score) - log_odds(threshold)

    def mean(self, scores: Sequence[float]) -> float:
        return logistic(sum(map(log_odds, scores)) / len(scores))

    def lowered(self, score: float, by: float) -> float:
        return logistic(log_odds(score) - by)


def log_odds(p: float) -> float:
    """ln(p / (1 - p)), finite also for a p that was rounded to 0 or 1."""
    p = min(max(p, 1e-15), 1 - 1e-15)
    return math.log(p / (1 - p))


def logistic(logit: float) -> float:
    """1 / (1 + exp(-logit))."""
    # exp of a large number would overflow; both forms are the same function
    return 1 / (1 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1 + math.exp(logit))


ACTIVATION = Scale("activation", "activation")
RATIO = Scale("activation/threshold", "× threshold")
LOGISTIC = LogisticScale("logistic", "logistic", "to the logit", highest=1.0, lowest=0.0)
