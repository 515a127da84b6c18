"""FeatureCandidate: a latent that may detect a category, with its figures, threshold and contexts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.lab.curation.contexts import Contexts
from monitor.lab.curation.logit_lens import LensTokens, NotAvailable
from monitor.lab.curation.ranking import LatentFigures
from monitor.lab.reading.sharded_texts import ShardedTexts


@dataclass(frozen=True)
class Threshold:
    """A value of the pooled activation, and which benign texts [text] reach it."""

    value: float
    reached: NDArray[np.bool_]


@dataclass(frozen=True)
class FeatureCandidate:
    """One latent; `rank` counts from 1."""

    rank: int
    figures: LatentFigures
    threshold: Threshold
    recall: float
    """Share of the risky texts of all sources that reach the threshold."""
    contexts: Contexts
    lens: LensTokens | NotAvailable

    @property
    def latent(self) -> int:
        """The latent's index in the SAE."""
        return self.figures.latent

    def row(self) -> dict[str, Any]:
        """Everything measured, for metrics.json; null if a figure does not apply."""
        figures = self.figures
        return {
            "rank": self.rank,
            "latent": self.latent,
            "label": self.contexts.label,
            "score": _rounded(figures.score),
            "cohens_d": _rounded(figures.cohens_d),
            **{f"auroc_{name}": _rounded(value) for name, value in figures.auroc.items()},
            "auroc_by_source": {name: _rounded(value) for name, value in figures.auroc_by_source.items()},
            "worst_auroc": _rounded(figures.worst_auroc),
            "agreement": _rounded(figures.agreement),
            "length_matched_auroc": _rounded(figures.length_matched_auroc),
            "benign_texts": _rounded(figures.benign_texts),
            "benign_tokens": _rounded(figures.benign_tokens, 6),
            "threshold": self.threshold.value,
            "fpr_at_threshold": _rounded(float(self.threshold.reached.mean())),
            "recall_at_threshold": _rounded(self.recall),
        }


def threshold_of(
    latent: int, pooling: str, sources: Sequence[ShardedTexts], benign: ShardedTexts, target_fpr: float
) -> tuple[Threshold, float]:
    """The latent's threshold, and the share of risky texts that reach it."""
    quiet = benign.block(latent, latent + 1).pooled[pooling][:, 0]
    risky = np.concatenate([s.block(latent, latent + 1).pooled[pooling][s.labels == 1, 0] for s in sources])
    value = lowest_threshold(quiet, risky, target_fpr)
    return Threshold(value, quiet >= value), float((risky >= value).mean())


def lowest_threshold(benign: NDArray[np.float32], risky: NDArray[np.float32], target_fpr: float) -> float:
    """The lowest activation above 0 that at most `target_fpr` of `benign` [text] reach.

    It lies halfway between the strongest benign activation that must stay below it and the next stronger one of any
    benign or `risky` text.
    """
    allowed = math.floor(benign.size * target_fpr)
    out = max(float(np.sort(benign)[::-1][allowed]), 0.0)  # the strongest that must stay below
    every = np.concatenate([benign, risky]).astype(np.float64)
    above = float(every[every > out].min(initial=math.inf))
    if math.isinf(above):  # nothing is stronger
        above = 1.1 * out or 1.0
    short = float(f"{(out + above) / 2:.5g}")
    return short if out < short <= above else (out + above) / 2


def _rounded(value: float, places: int = 4) -> float | None:
    return None if math.isnan(value) else round(value, places)
