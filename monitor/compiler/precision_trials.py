"""PrecisionTrials: whether a graph in int8, with confirmation in fp32, decides as one in fp32 does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.matching import Matcher
from monitor.auroc import auroc
from monitor.compiler.calibration_events import CalibrationEvent
from monitor.machine import machine
from monitor.readers.onnx.manifest import Verification
from monitor.sets.load import LoadedSet

MIN_AGREEMENT = 0.995
MAX_AUROC_LOSS = 0.005

_BOOTSTRAP_DRAWS = 200


@dataclass(frozen=True, kw_only=True)
class PrecisionTrials:
    """What was read in both precisions."""

    sets: Sequence[LoadedSet]
    events: Sequence[CalibrationEvent]
    tokens: int
    """Of all events."""
    exact: NDArray[np.float64]
    """Scores [event, set] in fp32; NaN if the event has no segment that the set looks at."""
    found: NDArray[np.float64]
    """The same in int8."""
    margins: Mapping[str, float]
    """By set id: how near its threshold an event is read again; every event of a set that is not here."""
    residuals: tuple[NDArray[np.float32], NDArray[np.float32]]
    """The residual stream [token, d] of some events in fp32 and int8."""
    max_norm: float | None
    """A token with a longer residual has massive activations."""

    def verification(self) -> Verification:
        """The comparison as it stands in a manifest."""
        sets = self.sets
        before, after = (_margins(sets, scores) for scores in (self.exact, self.found))
        limits = np.array([self.margins.get(loaded.set.id, math.inf) for loaded in sets])
        near = (after >= -limits).sum(axis=1) > 0  # comparing with NaN gives False
        decided = np.where(near[:, None], self.exact, self.found)
        usual = np.array([event.label != 1 for event in self.events])
        agree = ((after >= 0) == (before >= 0)).all(axis=1)
        # what is not read again has no score above a threshold, so int8 decides that nothing is active
        agreement = float((near | ~(before >= 0).any(axis=1)).mean())
        losses = {s.set.id: self._auroc_loss(s.set.category, decided[:, n], n) for n, s in enumerate(sets)}
        known = {name: loss for name, loss in losses.items() if loss is not None}
        fvu, massive_tokens, massive_fvu = self._residual_fvu()
        return Verification(
            machine=machine(),
            sets={loaded.set.id: loaded.sha256 for loaded in sets},
            events=len(self.events),
            tokens=self.tokens,
            confirmed=round(float(near[usual].mean()) if usual.any() else 1.0, 4),
            raw_agreement=round(float(agree.mean()), 5),
            agreement=round(agreement, 5),
            auroc_loss={name: round(loss, 5) for name, (loss, _) in known.items()},
            auroc_loss_at_least={name: round(low, 5) for name, (_, low) in known.items()},
            margins={name: round(margin, 5) for name, margin in self.margins.items()},
            residual_fvu=fvu or 0.0,
            massive_tokens=massive_tokens,
            massive_residual_fvu=massive_fvu,
            accepted=agreement >= MIN_AGREEMENT
            and max((low for _, low in known.values()), default=0.0) <= MAX_AUROC_LOSS,
        )

    def _auroc_loss(self, category: str, decided: NDArray[np.float64], column: int) -> tuple[float, float] | None:
        """The loss and the lower end of its interval, on events labelled for `category`; None if there are too few."""
        exact = self.exact[:, column]
        labels = np.array([-1 if e.label is None or e.category != category else e.label for e in self.events])
        usable = np.flatnonzero((labels >= 0) & ~np.isnan(exact) & ~np.isnan(decided))
        if len(set(labels[usable])) < 2:
            return None
        draws = np.random.default_rng(0).choice(usable, (_BOOTSTRAP_DRAWS, usable.size))
        losses = [_area(exact[d], labels[d]) - _area(decided[d], labels[d]) for d in (usable, *draws)]
        return losses[0], float(np.nanquantile(losses[1:], 0.05))

    def _residual_fvu(self) -> tuple[float | None, int, float | None]:
        """FVU of ordinary tokens, the number of tokens with massive activations, and their FVU."""
        expected, found = self.residuals
        massive = np.zeros(expected.shape[0], np.bool_)
        if self.max_norm is not None:
            massive = np.linalg.norm(expected, axis=1) > self.max_norm
        return (
            _fvu(expected[~massive], found[~massive]),
            int(massive.sum()),
            _fvu(expected[massive], found[massive]),
        )


def _margins(sets: Sequence[LoadedSet], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far scores [event, set] lie above the sets' thresholds; NaN stays NaN."""
    detectors = [Matcher(loaded.set).detector for loaded in sets]
    columns = [
        [
            math.nan if math.isnan(score) else detector.scale.margin(float(score), detector.threshold)
            for score in scores[:, n]
        ]
        for n, detector in enumerate(detectors)
    ]
    return np.array(columns).T


def _area(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    return auroc(scores[labels == 1], scores[labels == 0])


def _fvu(exact: NDArray[np.float32], found: NDArray[np.float32]) -> float | None:
    """Fraction of variance unexplained: squared error over squared distance from the mean; None if no tokens."""
    if exact.shape[0] == 0:
        return None
    spread = float(((exact - exact.mean(axis=0)) ** 2).sum())
    return round(float(((exact - found) ** 2).sum()) / spread, 6) if spread > 0 else 0.0
