"""PrecisionTrials: how fast a reader is in each precision, and whether it decides as it does in float32."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.matching import Matcher
from monitor.auroc import auroc
from monitor.compiler.calibration_events import CalibrationEvent
from monitor.readers.onnx.manifest import PrecisionCandidate, PrecisionName
from monitor.readers.onnx.reader import OnnxReader
from monitor.readers.reader import Chunk
from monitor.sets.load import LoadedSet

MIN_AGREEMENT = 0.995
MAX_AUROC_LOSS = 0.005

_SPEED_TOKENS = 128 * 8
_SPEED_ROUNDS = 3
_SAMPLE_EVENTS = 100
_BOOTSTRAP_DRAWS = 200
_MARGIN_DEVIATIONS = 3.0

# The scores [event, set] that a reader gives; NaN if the event has no segment that the set looks at
ScoreFn = Callable[[OnnxReader, Sequence[CalibrationEvent]], NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class PrecisionTrials:
    """What the candidates are compared on."""

    sets: Sequence[LoadedSet]
    scores: ScoreFn
    events: Sequence[CalibrationEvent]
    texts: Sequence[NDArray[np.int32]]
    """The tokens of each event that has any."""
    positions: int
    """Longest text that a graph reads."""
    max_norm: float | None
    """A token with a longer residual has massive activations."""

    def run(
        self,
        names: Sequence[PrecisionName],
        reader_of: Callable[[PrecisionName], OnnxReader],
        progress: Callable[[str], None],
    ) -> Iterator[PrecisionCandidate]:
        """Candidates, fastest first, up to the first that is accepted; float32 always is."""
        readers: dict[PrecisionName, OnnxReader] = {name: reader_of(name) for name in {*names, "fp32"}}
        speeds = self.speeds(readers)
        exact: NDArray[np.float64] | None = None
        for name in sorted(names, key=lambda name: -speeds[name]):
            progress(f"{name} reads {speeds[name]:,.0f} tokens/s")
            if name == "fp32":
                yield _exact_candidate(speeds["fp32"])
                return
            if exact is None:
                progress(f"scoring {len(self.events)} events in fp32")
                exact = self.scores(readers["fp32"], self.events)
            progress(f"scoring {len(self.events)} events in {name}")
            found = self.scores(readers[name], self.events)
            candidate = self._candidate(name, speeds, exact, found, self._residual_fvu(readers[name], readers["fp32"]))
            yield candidate
            if candidate.accepted:
                return

    def speeds(self, readers: Mapping[PrecisionName, OnnxReader]) -> dict[PrecisionName, float]:
        """Tokens/s of each reader on the same tokens: the median over rounds in which the readers take turns."""
        ids = np.resize(np.concatenate(self.texts[:_SAMPLE_EVENTS]), _SPEED_TOKENS)
        seconds: dict[PrecisionName, list[float]] = {name: [] for name in readers}
        chunks = [Chunk(part) for part in np.split(ids, 8)]
        for _ in range(_SPEED_ROUNDS + 1):  # the first one warms up
            for name, reader in readers.items():
                started = time.perf_counter()
                reader.read(chunks)
                seconds[name].append(time.perf_counter() - started)
        return {name: _SPEED_TOKENS / float(np.median(times[1:])) for name, times in seconds.items()}

    def _candidate(
        self,
        name: PrecisionName,
        speeds: Mapping[PrecisionName, float],
        exact: NDArray[np.float64],
        found: NDArray[np.float64],
        fvu: tuple[float, int, float | None],
    ) -> PrecisionCandidate:
        sets = self.sets
        before, after = (_margins(sets, scores) for scores in (exact, found))
        measured = np.isfinite(after - before).sum(axis=0) > 0  # a set may look at segments that no event has
        noise = np.zeros(len(sets))
        noise[measured] = np.nanstd((after - before)[:, measured], axis=0)
        near = (after >= -_MARGIN_DEVIATIONS * noise).sum(axis=1) > 0  # comparing with NaN gives False
        decided = np.where(near[:, None], exact, found)
        usual = np.array([event.label != 1 for event in self.events])
        confirmed = float(near[usual].mean()) if usual.any() else 1.0
        agreement = float((((after >= 0) & near[:, None]) == (before >= 0))[~near].all(axis=1).sum() + near.sum())
        effective = 1 / (1 / speeds[name] + confirmed / speeds["fp32"])
        losses = {s.set.id: self._auroc_loss(s.set.category, exact[:, n], decided[:, n]) for n, s in enumerate(sets)}
        known = {name: loss for name, loss in losses.items() if loss is not None}
        return PrecisionCandidate(
            precision=name,
            tokens_per_s=round(speeds[name], 1),
            confirmed=round(confirmed, 4),
            effective_tokens_per_s=round(effective, 1),
            raw_agreement=round(float(((after >= 0) == (before >= 0)).all(axis=1).mean()), 5),
            agreement=round(agreement / len(self.events), 5),
            auroc_loss={name: round(loss, 5) for name, (loss, _) in known.items()},
            auroc_loss_at_least={name: round(low, 5) for name, (_, low) in known.items()},
            margins={
                loaded.set.id: round(_MARGIN_DEVIATIONS * float(n), 5)
                for loaded, n, known_noise in zip(sets, noise, measured, strict=True)
                if known_noise
            },
            residual_fvu=fvu[0],
            massive_tokens=fvu[1],
            massive_residual_fvu=fvu[2],
            accepted=agreement / len(self.events) >= MIN_AGREEMENT
            and max((low for _, low in known.values()), default=0.0) <= MAX_AUROC_LOSS
            and effective > speeds["fp32"],
        )

    def _auroc_loss(
        self, category: str, exact: NDArray[np.float64], decided: NDArray[np.float64]
    ) -> tuple[float, float] | None:
        """The loss and the lower end of its interval, on events labelled for `category`; None if there are too few."""
        labels = np.array([-1 if e.label is None or e.category != category else e.label for e in self.events])
        usable = np.flatnonzero((labels >= 0) & ~np.isnan(exact) & ~np.isnan(decided))
        if len(set(labels[usable])) < 2:
            return None
        draws = np.random.default_rng(0).choice(usable, (_BOOTSTRAP_DRAWS, usable.size))
        losses = [_area(exact[d], labels[d]) - _area(decided[d], labels[d]) for d in (usable, *draws)]
        return losses[0], float(np.nanquantile(losses[1:], 0.05))

    def _residual_fvu(self, rounding: OnnxReader, exact: OnnxReader) -> tuple[float, int, float | None]:
        """FVU of ordinary tokens, the number of tokens with massive activations, and their FVU."""
        texts = [text[: self.positions] for text in self.texts[:_SAMPLE_EVENTS]]
        expected, found = (np.concatenate([r.residual(t) for t in texts]) for r in (exact, rounding))
        massive = np.zeros(expected.shape[0], np.bool_)
        if self.max_norm is not None:
            massive = np.linalg.norm(expected, axis=1) > self.max_norm
        return (
            _fvu(expected[~massive], found[~massive]) or 0.0,
            int(massive.sum()),
            _fvu(expected[massive], found[massive]),
        )


def _exact_candidate(speed: float) -> PrecisionCandidate:
    return PrecisionCandidate(
        precision="fp32",
        tokens_per_s=round(speed, 1),
        confirmed=0.0,
        effective_tokens_per_s=round(speed, 1),
        raw_agreement=1.0,
        agreement=1.0,
        auroc_loss={},
        auroc_loss_at_least={},
        margins={},
        residual_fvu=0.0,
        massive_tokens=0,
        massive_residual_fvu=None,
        accepted=True,
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
