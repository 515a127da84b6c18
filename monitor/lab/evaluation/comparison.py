"""Comparison: the figures of one detector on one labelled file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.auroc import auroc
from monitor.lab.data.rows import LabelledRow
from monitor.lab.statistics import (
    Floats,
    auprc,
    binomial_interval,
    bootstrap_interval,
    length_matched_auroc,
    pair_wins,
    recall_at_fpr,
)

Interval = tuple[float, float]
_NONE: Interval = (math.nan, math.nan)


@dataclass(frozen=True)
class JudgedFile:
    """A labelled file as all detectors of one set see it."""

    set_id: str
    file: str
    rows: Sequence[LabelledRow]
    tokens: NDArray[np.int64]
    """[row] The number of tokens that the set looks at."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """[row]"""
        return np.array([row.label for row in self.rows], dtype=np.int64)

    @property
    def source(self) -> str:
        """The source that the rows name. Several parts of one source (`source:part`) count as that source."""
        sources = sorted({row.source for row in self.rows if row.source})
        if len(sources) > 1:
            sources = sorted({source.partition(":")[0] for source in sources})
        return ", ".join(sources) if len(sources) <= 3 else f"{len(sources)} sources"


@dataclass(frozen=True)
class Figures:
    """The figures of one detector on one file. NaN if a figure does not apply.

    AUROC and AUPRC compare the file's positives with its own negatives, or with the benign rows if it has none.
    Recall at an FPR takes its threshold from the benign rows if there are any, else from the file's negatives.
    Intervals are 95 % intervals.
    """

    set_id: str
    detector: str
    detail: str
    file: str
    source: str
    n_pos: int
    n_neg: int
    """Negatives that AUROC compares with."""
    n_benign: int
    auroc: float
    auroc_ci: Interval
    auprc: float
    auprc_ci: Interval
    recall_at_1pct_fpr: float
    recall_at_1pct_fpr_ci: Interval
    recall_at_01pct_fpr: float
    pair_win_rate: float
    pair_win_rate_ci: Interval
    n_pairs: int
    length_matched_auroc: float
    fpr_at_shipped_threshold: float
    """Over the benign rows, or over the file's negatives if there are no benign rows or no positives."""
    fpr_ci: Interval

    def row(self) -> dict[str, Any]:
        """The figures with the names that `--json` writes."""
        return {
            "set": self.set_id,
            "detector": self.detector,
            "file": self.file,
            "source": self.source,
            "n_pos": self.n_pos,
            "n_neg": self.n_neg,
            "auroc": _json(self.auroc),
            "auroc_ci": _json(self.auroc_ci),
            "recall_at_fpr_0.01": _json(self.recall_at_1pct_fpr),
            "recall_at_fpr_0.001": _json(self.recall_at_01pct_fpr),
            "pair_win_rate": _json(self.pair_win_rate),
            "fpr_at_shipped_threshold": _json(self.fpr_at_shipped_threshold),
        }

    def full_row(self) -> dict[str, Any]:
        """All figures, as the run folder keeps them."""
        return {
            **self.row(),
            "detail": self.detail,
            "n_benign": self.n_benign,
            "auprc": _json(self.auprc),
            "auprc_ci": _json(self.auprc_ci),
            "recall_at_fpr_0.01_ci": _json(self.recall_at_1pct_fpr_ci),
            "pair_win_rate_ci": _json(self.pair_win_rate_ci),
            "n_pairs": self.n_pairs,
            "length_matched_auroc": _json(self.length_matched_auroc),
            "fpr_ci": _json(self.fpr_ci),
        }


def measure(
    judged: JudgedFile,
    detector: str,
    detail: str,
    scores: Floats,
    benign: Floats,
    threshold: float | None,
    seed: int,
) -> Figures:
    """The figures of a detector with `scores` [row] on the file and `benign` [row] on harmless rows (may be empty).

    NaN is the score of a row of which the detector sees nothing. In the file it ranks below all others; among the
    benign rows it is ignored. The detector fires at `threshold` and above.
    """
    scores, benign = _comparable(scores, benign, threshold)
    labels = judged.labels
    positive, negative = scores[labels == 1], scores[labels == 0]
    clusters = [row.cluster for row in judged.rows]
    pairs = [row.pair for row in judged.rows]
    against_benign = positive.size > 0 and negative.size == 0
    compared = benign if against_benign else negative
    reference = benign if benign.size else negative
    fired_on = negative if benign.size == 0 or positive.size == 0 else benign
    wins = pair_wins(scores, labels, pairs)

    def interval(figure: Callable[[Floats, Floats], float], with_benign: bool) -> Interval:
        if not with_benign:
            return _interval(figure, scores, labels, clusters, seed)
        names = [c for c, label in zip(clusters, labels, strict=True) if label == 1]
        return _interval(
            figure,
            np.concatenate([positive, benign]),
            np.repeat([1, 0], [positive.size, benign.size]),
            [*(f"file {name}" for name in names), *(f"benign {n}" for n in range(benign.size))],
            seed,
        )

    fired = 0 if threshold is None else int((fired_on >= threshold).sum())
    known = threshold is not None and fired_on.size > 0
    return Figures(
        set_id=judged.set_id,
        detector=detector,
        detail=detail,
        file=judged.file,
        source=judged.source,
        n_pos=int(positive.size),
        n_neg=int(compared.size),
        n_benign=int(benign.size),
        auroc=auroc(positive, compared),
        auroc_ci=interval(auroc, against_benign),
        auprc=auprc(positive, compared),
        auprc_ci=interval(auprc, against_benign),
        recall_at_1pct_fpr=recall_at_fpr(positive, reference, 0.01),
        recall_at_1pct_fpr_ci=interval(lambda p, n: recall_at_fpr(p, n, 0.01), benign.size > 0),
        recall_at_01pct_fpr=recall_at_fpr(positive, reference, 0.001),
        pair_win_rate=float(wins.mean()) if wins.size else math.nan,
        pair_win_rate_ci=_mean_interval(wins, seed),
        n_pairs=int(wins.size),
        length_matched_auroc=length_matched_auroc(scores, labels, judged.tokens),
        fpr_at_shipped_threshold=fired / fired_on.size if known else math.nan,
        fpr_ci=binomial_interval(fired, fired_on.size) if known else _NONE,
    )


def _comparable(scores: Floats, benign: Floats, threshold: float | None) -> tuple[Floats, Floats]:
    benign = benign[~np.isnan(benign)]
    finite = [*scores[~np.isnan(scores)], *benign, *([] if threshold is None else [threshold])]
    return np.where(np.isnan(scores), min(finite, default=0.0) - 1, scores), benign


def _interval(
    figure: Callable[[Floats, Floats], float],
    scores: Floats,
    labels: NDArray[np.int64],
    clusters: Sequence[str],
    seed: int,
) -> Interval:
    if np.unique(labels).size < 2:
        return _NONE
    return bootstrap_interval(figure, scores, labels, clusters, seed=seed)


def _mean_interval(wins: Floats, seed: int) -> Interval:
    """95 % interval of the mean, by resampling pairs."""
    if wins.size == 0:
        return _NONE
    drawn = np.random.default_rng(seed).choice(wins, (400, wins.size)).mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def _json(value: float | Interval) -> Any:
    """Rounded for people; null if there is no figure."""
    if isinstance(value, tuple):
        return None if math.isnan(value[0]) else [round(v, 6) for v in value]
    return None if math.isnan(value) else round(value, 6)


def by_file(figures: Iterable[Figures]) -> list[list[Figures]]:
    """The figures grouped by set and file, in the order of their first figure."""
    groups: dict[tuple[str, str], list[Figures]] = {}
    for of in figures:
        groups.setdefault((of.set_id, of.file), []).append(of)
    return list(groups.values())


def figure_text(value: float, interval: Interval | None = None, places: int = 2, form: str = "{} ({} to {})") -> str:
    """A figure as text, with its interval if it has one; empty for NaN."""
    if math.isnan(value):
        return ""
    if interval is None or math.isnan(interval[0]):
        return f"{value:.{places}f}"
    return form.format(*(f"{number:.{places}f}" for number in (value, *interval)))
