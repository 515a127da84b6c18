"""Matcher: one feature set, its detector, and the evidence behind a match."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.feature_set import FeatureSet, Severity
from detectors.score import Detector, Score
from detectors.threshold import ThresholdDetector
from detectors.weighted import WeightedDetector

DETECTORS: dict[str, type[ThresholdDetector] | type[WeightedDetector]] = {
    "threshold": ThresholdDetector,
    "weighted": WeightedDetector,
}


@dataclass(frozen=True)
class SegmentActivations:
    """The activations of a set's features over one segment of an event.

    `values` is [token, feature], columns in the set's order. `index` counts segments of the same name from 0.
    """

    name: str
    index: int
    values: NDArray[np.float32]


@dataclass(frozen=True)
class FeatureHit:
    """One feature that speaks for the match."""

    index: int
    label: str
    activation: float
    """Pooled."""
    contribution: float
    threshold: float | None
    weight: float | None
    tokens: tuple[tuple[int, float], ...]
    """The strongest tokens as (row of the segment, activation), strongest first."""


@dataclass(frozen=True)
class Match:
    """A set that is active in one segment."""

    segment: SegmentActivations
    score: float
    threshold: float
    unit: str
    severity: Severity
    hits: tuple[FeatureHit, ...]
    strength: NDArray[np.float32]
    """[token], 0 to 1: how strongly the set's features are active on each token, for shading."""


class Matcher:
    """Judges the segments of one event for one feature set."""

    def __init__(self, feature_set: FeatureSet, top_features: int = 8, top_tokens: int = 8) -> None:
        self.feature_set = feature_set
        self.detector: Detector = DETECTORS[feature_set.detector](feature_set)
        self._top_features = top_features
        self._top_tokens = top_tokens

    def scores(self, segments: Sequence[SegmentActivations]) -> list[tuple[SegmentActivations, Score]]:
        """The score of every segment that the set looks at and that is long enough.

        Raises ValueError where an activation is not finite: a comparison with it would say anything.
        """
        wanted = self.feature_set.segments
        long_enough = [s for s in segments if s.name in wanted and s.values.shape[0] >= self.feature_set.min_tokens]
        for segment in long_enough:
            if not np.isfinite(segment.values).all():
                raise ValueError(f"{self.feature_set.id}: an activation in {segment.name} is not a finite number")
        return [(s, self.detector.score(s.values)) for s in long_enough]

    def match(self, segments: Sequence[SegmentActivations]) -> Match | None:
        """The match in the highest-scoring segment (the first of equals), or None where none reaches the threshold."""
        scored = self.scores(segments)
        if not scored:
            return None
        segment, score = max(scored, key=lambda pair: pair[1].value)
        if score.value < self.detector.threshold:
            return None
        return Match(
            segment=segment,
            score=score.value,
            threshold=self.detector.threshold,
            unit=self.detector.unit,
            severity=self._severity(score.value),
            hits=self._hits(segment, score),
            strength=self._strength(segment, score),
        )

    def _severity(self, score: float) -> Severity:
        severity = self.feature_set.severity
        for escalation in sorted(self.feature_set.escalations, key=lambda e: e.score):
            if score >= escalation.score:
                severity = escalation.severity
        return severity

    def _hits(self, segment: SegmentActivations, score: Score) -> tuple[FeatureHit, ...]:
        order = np.argsort(-score.contributions, kind="stable")[: self._top_features]
        hits = []
        for column in order:
            if score.contributions[column] <= 0:
                break
            feature = self.feature_set.features[column]
            values = segment.values[:, column]
            rows = np.argsort(-values, kind="stable")[: self._top_tokens]
            hits.append(
                FeatureHit(
                    index=feature.index,
                    label=feature.label,
                    activation=float(score.pooled[column]),
                    contribution=float(score.contributions[column]),
                    threshold=feature.threshold,
                    weight=feature.weight,
                    tokens=tuple((int(r), float(values[r])) for r in rows if values[r] > 0),
                )
            )
        return tuple(hits)

    def _strength(self, segment: SegmentActivations, score: Score) -> NDArray[np.float32]:
        """Each token's share of the evidence: activations weighted as in the score, scaled to a maximum of 1."""
        pooled = np.where(score.pooled > 0, score.pooled, 1)
        per_unit = np.clip(score.contributions / pooled, 0, None)  # [feature]
        raw = segment.values @ per_unit  # [token]
        top = float(raw.max(initial=0))
        return (raw / top if top > 0 else raw).astype(np.float32)
