"""Change: how figures of the same texts differ between two readings, with permutation tests, FDR and effect sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control, permutation_test

Floats = NDArray[np.float64]

RESAMPLES = 9_999
_CELLS_AT_ONCE = 4_000_000  # numbers that a batch of permutations may hold


@dataclass(frozen=True)
class Figures:
    """One figure's two readings of each text [text], and from what value on it counts as firing."""

    name: str
    before: Floats
    after: Floats
    fires_from: float


@dataclass(frozen=True)
class Change:
    """How one figure changed over `texts` texts. NaN in all the rest if there are none."""

    name: str
    texts: int
    rate_before: float
    """Share of texts on which it fires."""
    rate_after: float
    rate_q: float
    """p-value of the change in rate, adjusted over all figures tested together."""
    mean_before: float
    mean_after: float
    effect: float
    """Mean difference over the standard deviation of the differences (Cohen's d for paired values)."""
    p: float
    """Of the change in mean, two-sided."""
    q: float
    """The same, adjusted."""

    def significant(self, alpha: float) -> bool:
        """Whether mean or rate changed by more than chance, with a false discovery rate of `alpha`."""
        return self.q <= alpha or self.rate_q <= alpha

    def row(self) -> dict[str, Any]:
        """For JSON, which has no NaN."""
        return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(self).items()}


def changes(figures: Sequence[Figures], resamples: int = RESAMPLES, seed: int = 0) -> list[Change]:
    """The change of each figure, in order.

    The test exchanges the two readings of a text, so texts need not be alike, but must not depend on each other. It
    counts all exchanges if there are fewer than `resamples`. Texts with a NaN in either reading don't count. The
    p-values of means and rates are adjusted together (Benjamini and Hochberg 1995).
    """
    kept = [~(np.isnan(f.before) | np.isnan(f.after)) for f in figures]
    pairs = [(f.before[k], f.after[k]) for f, k in zip(figures, kept, strict=True)]
    fired = [(b >= f.fires_from, a >= f.fires_from) for f, (b, a) in zip(figures, pairs, strict=True)]
    rises = [a - b for b, a in pairs] + [a.astype(np.float64) - b for b, a in fired]
    p = np.array([paired_p(rise, resamples, seed) for rise in rises])
    q = np.full(p.size, math.nan)
    tested = ~np.isnan(p)
    if tested.any():
        q[tested] = false_discovery_control(p[tested], method="bh")
    return [
        Change(
            name=figure.name,
            texts=int(before.size),
            rate_before=_mean(rate_before),
            rate_after=_mean(rate_after),
            rate_q=float(q[len(figures) + n]),
            mean_before=_mean(before),
            mean_after=_mean(after),
            effect=effect_size(after - before),
            p=float(p[n]),
            q=float(q[n]),
        )
        for n, (figure, (before, after), (rate_before, rate_after)) in enumerate(
            zip(figures, pairs, fired, strict=True)
        )
    ]


def paired_p(rises: Floats, resamples: int = RESAMPLES, seed: int = 0) -> float:
    """Two-sided p-value of the mean of `rises` [text] if each could as well have the other sign; NaN without texts."""
    if not rises.size:
        return math.nan
    moved = rises[rises != 0]  # a zero has no sign to exchange
    if not moved.size:
        return 1.0
    if moved.size == 1:
        return 1.0  # both signs are as extreme; scipy wants two values
    found = permutation_test(
        (moved,),
        lambda x, axis: np.mean(x, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, _CELLS_AT_ONCE // moved.size),
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def effect_size(rises: Floats) -> float:
    """Mean of `rises` over their standard deviation: 0 if none differs from 0, NaN if it can't be told."""
    if not rises.size:
        return math.nan
    if not rises.any():
        return 0.0
    deviation = float(rises.std(ddof=1)) if rises.size > 1 else 0.0
    return float(rises.mean()) / deviation if deviation > 0 else math.nan


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if values.size else math.nan
