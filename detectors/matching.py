"""Matcher: one feature set with its detector, and the evidence for a match."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from detectors.detector import Detector, detector_of
from detectors.feature_set import FeatureSet, Severity
from detectors.pooling import Pooling, pool_windows
from detectors.score import Score, Window


@dataclass(frozen=True)
class SegmentActivations:
    """Activations over one segment of an event, `values` [token, column].

    `index` counts segments of the same name from 0.
    """

    name: str
    index: int
    values: NDArray[np.float32]
    _pooled: dict[Pooling, NDArray[np.float32]] = field(default_factory=dict, repr=False, compare=False)

    def pooled(self, pooling: Pooling) -> NDArray[np.float32]:
        """Pooled into [window, column]; computed once for all sets with the same pooling."""
        # sets with different penalties share their windows
        pooling = pooling.model_copy(update={"window_penalty": 0.0}) if pooling.window_penalty else pooling
        if pooling not in self._pooled:
            self._pooled[pooling] = pool_windows(self.values, pooling)
        return self._pooled[pooling]


@dataclass(frozen=True)
class FeatureHit:
    """One named feature that is evidence for the match."""

    index: int
    label: str
    label_score: float | None
    activation: float
    """Pooled."""
    contribution: float
    share: float
    """Its part of everything that raises the score, 0 to 1."""
    threshold: float | None
    weight: float | None
    tokens: tuple[tuple[int, float], ...]
    """The strongest tokens as (row of the segment, activation), strongest first."""


@dataclass(frozen=True)
class UnnamedHit:
    """All features without a name that are evidence for the match, together."""

    features: int
    contribution: float
    share: float
    """Their part of everything that raises the score, 0 to 1."""
    tokens: tuple[tuple[int, float], ...]
    """The tokens with the most of that evidence as (row of the segment, activations weighted as in the score)."""


@dataclass(frozen=True)
class ProbeHit:
    """What the set's probe contributes to the match."""

    contribution: float
    """To the logit; below 0 if the match is only due to the features."""
    share: float
    """Its part of everything that raises the score, 0 to 1; 0 if it lowers the score."""
    tokens: tuple[tuple[int, float], ...]
    """The tokens with the largest projections as (row of the segment, projection), strongest first."""


@dataclass(frozen=True)
class Match:
    """A set that is active in one segment."""

    segment: SegmentActivations
    score: float
    threshold: float
    unit: str
    severity: Severity
    hits: tuple[FeatureHit, ...]
    """The named features that contribute most."""
    unnamed: UnnamedHit | None
    """None if no feature without a name contributes."""
    probe: ProbeHit | None
    strength: NDArray[np.float32]
    """[token], 0 to 1: how strongly the set's features (and its probe) are active on each token, for shading."""
    window: Window | None = None
    """The part of a long segment that decided. All tokens of the evidence are in it; None if the whole segment did."""


def highest_by_name(scores: Iterable[tuple[str, float]]) -> list[float]:
    """The highest score for each name of a segment; `combine_segments: mean` is the mean of these."""
    highest: dict[str, float] = {}
    for name, score in scores:
        highest[name] = max(score, highest.get(name, score))
    return list(highest.values())


class Matcher:
    """Matches the segments of one event with one feature set."""

    def __init__(
        self,
        feature_set: FeatureSet,
        top_features: int = 8,
        top_tokens: int = 8,
        columns: NDArray[np.int64] | None = None,
    ) -> None:
        """`columns` [column] say which columns of the segments are FeatureSet.columns; default: those, in that order.

        Raises ValueError if the set's detector can't be used.
        """
        self.feature_set = feature_set
        self._columns = np.arange(len(feature_set.columns())) if columns is None else columns
        self.detector: Detector = detector_of(feature_set)
        self._named = np.array([feature.named for feature in feature_set.features], dtype=np.bool_)
        self._top_features = top_features
        self._top_tokens = top_tokens

    def scores(self, segments: Sequence[SegmentActivations]) -> list[tuple[SegmentActivations, Score]]:
        """The score of every segment that the set looks at and that is long enough.

        Raises ValueError if an activation is not finite: a comparison with it would mean nothing.
        """
        wanted, pooling = self.feature_set.segments, self.feature_set.pooling
        scored = []
        for segment in segments:
            if segment.name not in wanted or segment.values.shape[0] < self.feature_set.min_tokens:
                continue
            pooled = segment.pooled(pooling)[:, self._columns]  # [window, column]
            if not np.isfinite(pooled).all():
                raise ValueError(f"{self.feature_set.id}: an activation in {segment.name} is not a finite number")
            scored.append((segment, self._highest(segment, pooled)))
        return scored

    def _highest(self, segment: SegmentActivations, pooled: NDArray[np.float32]) -> Score:
        """The score of the window with the highest one (the first of equals), from `pooled` [window, column]."""
        scores = [self.detector.score(window) for window in pooled]
        if len(scores) == 1:
            return scores[0]
        best = max(range(len(scores)), key=lambda n: scores[n].value)
        pooling = self.feature_set.pooling
        penalty = pooling.window_penalty * math.log(len(scores))
        return replace(
            scores[best],
            value=self.detector.scale.lowered(scores[best].value, penalty),
            window=Window(*pooling.windows(segment.values.shape[0])[best], len(scores), penalty),
        )

    def best(self, segments: Sequence[SegmentActivations]) -> tuple[SegmentActivations, Score] | None:
        """The highest-scoring segment (the first of equals) and the event's score; None if the set looks at no segment.

        Contributions are the segment's own share of that score.
        """
        scored = self.scores(segments)
        if not scored:
            return None
        segment, score = max(scored, key=lambda pair: pair[1].value)
        if self.feature_set.combine_segments == "mean":
            highest = highest_by_name((other.name, found.value) for other, found in scored)
            score = score.divided_by(len(highest), self.detector.scale.mean(highest))
        return segment, score

    def match(
        self,
        segments: Sequence[SegmentActivations],
        threshold: float | None = None,
        severity: Severity | None = None,
    ) -> Match | None:
        """The match in the highest-scoring segment (the first of equals), or None below the threshold.

        `threshold` replaces the set's for these segments, and `severity` the set's with its escalations.
        """
        best = self.best(segments)
        return None if best is None else self.match_of(*best, threshold, severity)

    def match_of(
        self,
        segment: SegmentActivations,
        score: Score,
        threshold: float | None = None,
        severity: Severity | None = None,
    ) -> Match | None:
        """The match in the segment that `best` found with its score, or None below the threshold."""
        threshold = self.detector.threshold if threshold is None else threshold
        if score.value < threshold:
            return None
        return Match(
            segment=segment,
            score=score.value,
            threshold=threshold,
            unit=self.detector.scale.unit,
            severity=severity or self._severity(score.value),
            hits=self._hits(segment, score),
            unnamed=self._unnamed(segment, score),
            probe=self._probe(segment, score),
            strength=self._strength(segment, score),
            window=score.window,
        )

    def _severity(self, score: float) -> Severity:
        severity = self.feature_set.severity
        for escalation in sorted(self.feature_set.escalations, key=lambda e: e.score):
            if score >= escalation.score:
                severity = escalation.severity
        return severity

    def _hits(self, segment: SegmentActivations, score: Score) -> tuple[FeatureHit, ...]:
        candidates = np.flatnonzero(self._named & (score.contributions > 0))
        order = candidates[np.argsort(-score.contributions[candidates], kind="stable")][: self._top_features]
        hits = []
        for column in order:
            feature = self.feature_set.features[column]
            contribution = float(score.contributions[column])
            hits.append(
                FeatureHit(
                    index=feature.index,
                    label=feature.label,
                    label_score=feature.label_score,
                    activation=float(score.pooled[column]),
                    contribution=contribution,
                    share=contribution / score.raised,
                    threshold=feature.threshold,
                    weight=feature.weight,
                    tokens=self._strongest(self._column(segment, score, column)),
                )
            )
        return tuple(hits)

    def _unnamed(self, segment: SegmentActivations, score: Score) -> UnnamedHit | None:
        helped = ~self._named & (score.contributions > 0)
        if not helped.any():
            return None
        contribution = float(score.contributions[helped].sum())
        tokens = self._strongest(self._evidence(segment, score, helped))
        return UnnamedHit(int(helped.sum()), contribution, contribution / score.raised, tokens)

    def _probe(self, segment: SegmentActivations, score: Score) -> ProbeHit | None:
        if score.probe is None:
            return None
        share = max(score.probe, 0.0) / score.raised if score.raised else 0.0
        return ProbeHit(score.probe, share, self._strongest(self._column(segment, score, -1)))

    def _strongest(self, values: NDArray[np.float32]) -> tuple[tuple[int, float], ...]:
        rows = np.argsort(-values, kind="stable")[: self._top_tokens]
        return tuple((int(r), float(values[r])) for r in rows if values[r] > 0)

    def _strength(self, segment: SegmentActivations, score: Score) -> NDArray[np.float32]:
        """Each token's share of the evidence: activations weighted as in the score, scaled to a maximum of 1."""
        raw = self._evidence(segment, score, score.contributions > 0)
        if score.probe is not None:
            raw = raw + np.clip(self._column(segment, score, -1), 0, None)
        top = float(raw.max(initial=0))
        return (raw / top if top > 0 else raw).astype(np.float32)

    def _evidence(self, segment: SegmentActivations, score: Score, helped: NDArray[np.bool_]) -> NDArray[np.float32]:
        """[token] The sum of the activations of the features `helped` [feature], weighted as in the score."""
        per_unit = np.where(helped, score.contributions / np.where(score.pooled > 0, score.pooled, 1), 0)  # [feature]
        return _only_window(segment.values[:, self._columns[: per_unit.size]] @ per_unit, score.window)

    def _column(self, segment: SegmentActivations, score: Score, column: int) -> NDArray[np.float32]:
        """[token] The activations in one of the set's columns."""
        return _only_window(segment.values[:, self._columns[column]], score.window)


def _only_window(values: NDArray[np.float32], window: Window | None) -> NDArray[np.float32]:
    """`values` [token], with 0 for tokens outside the window, which are no evidence."""
    if window is None:
        return values.astype(np.float32)
    kept = np.zeros(values.shape, np.float32)
    kept[window.start : window.stop] = values[window.start : window.stop]
    return kept
