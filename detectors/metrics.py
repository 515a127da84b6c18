"""Metric: what a set detects on one labelled source; MetricsSummary: the ranges over all sources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import Field

from detectors.frozen_model import Finite, FrozenModel

Range = tuple[float, float]
"""Lowest and highest."""


class SizeFigures(FrozenModel):
    """What a set of another size would detect on one labelled source."""

    auroc: Finite | None
    recall_at_1pct_fpr: Finite | None


class Metric(FrozenModel):
    """Detection figures on one labelled source; null where a figure does not apply."""

    auroc: Finite | None
    auroc_interval_95: tuple[Finite, Finite] | None = None
    recall_at_1pct_fpr: Finite | None = None
    """At the threshold that 1 % of benign texts by other authors reach."""
    recall_at_threshold: Finite | None = None
    """At a threshold that was chosen as the set's own is: on benign texts that say nothing about this source."""
    recall_at_escalation: Finite | None = None
    """As `recall_at_threshold`, at the score that raises the severity."""
    pair_win_rate: Finite | None = None
    auroc_vs_benign: Finite | None = None
    """Positives of this source against benign texts by other authors, instead of the source's own negatives."""
    n_positive: int
    n_negative: int
    weighted_auroc: Finite | None = None
    """SAE features only, as a `weighted` set; the same as `auroc` if the set is one."""
    with_probe_auroc: Finite | None = None
    """Features and a probe together, as a `probe` set; the same as `auroc` if the set is one."""
    dense_probe_auroc: Finite | None = None
    """Logistic regression on the mean residual, same training rows."""
    dense_probe_interval_95: tuple[Finite, Finite] | None = None
    word_only_auroc: Finite | None = None
    """Naive Bayes on word counts, same training rows."""
    word_only_interval_95: tuple[Finite, Finite] | None = None
    by_size: dict[str, SizeFigures] = Field(default_factory=dict)
    """SAE features only, by how many features the set may have ("64"), or "all": what sparsity costs."""
    held_out: bool
    """True if the figures are those of the same recipe fitted without any row of this source or its family; the
    shipped weights were then fitted on all sources together."""


class MetricsSummary(FrozenModel):
    """Lowest and highest figure over the held-out sources; null if no source has the figure."""

    auroc_by_others: Range | None
    """Sources by other authors: published data sets."""
    auroc_own: Range | None
    """Sources written for the project, whose names begin with own_."""
    dense_probe_by_others: Range | None
    dense_probe_own: Range | None
    word_only_by_others: Range | None
    word_only_own: Range | None


def is_own(source: str) -> bool:
    """Whether a source of that name was written for the project rather than published by others."""
    return source.startswith("own_")


def summarised(metrics: Mapping[str, Metric]) -> MetricsSummary:
    """The summary of the held-out sources."""
    held_out = {name: metric for name, metric in metrics.items() if metric.held_out}
    own = [metric for name, metric in held_out.items() if is_own(name)]
    others = [metric for name, metric in held_out.items() if not is_own(name)]
    return MetricsSummary(
        auroc_by_others=_range(m.auroc for m in others),
        auroc_own=_range(m.auroc for m in own),
        dense_probe_by_others=_range(m.dense_probe_auroc for m in others),
        dense_probe_own=_range(m.dense_probe_auroc for m in own),
        word_only_by_others=_range(m.word_only_auroc for m in others),
        word_only_own=_range(m.word_only_auroc for m in own),
    )


def near_chance(metrics: Mapping[str, Metric]) -> bool:
    """Whether the held-out AUROC on sources by others may be chance.

    True if the mean of their intervals' lower ends is .5 or less; False if none of them has an AUROC.
    """
    lows = [
        metric.auroc_interval_95[0]
        for name, metric in metrics.items()
        if metric.held_out and not is_own(name) and metric.auroc_interval_95 is not None
    ]
    return bool(lows) and sum(lows) / len(lows) <= 0.5


def _range(figures: Iterable[float | None]) -> Range | None:
    known = [figure for figure in figures if figure is not None]
    return (min(known), max(known)) if known else None
