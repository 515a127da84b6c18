"""The measured figures of feature sets as a Markdown table, for README and docs."""

from __future__ import annotations

from collections.abc import Iterable

from detectors.feature_set import FeatureSet, Metric

_HEAD = (
    "| Set | Source, left out of fitting | n+ / n- | AUROC (95 % interval) | features alone | with probe | dense probe "
    "| word-only | pairs won | vs. benign | recall at 1 % FPR |\n|---|---|---|---|---|---|---|---|---|---|---|"
)


def figures_table(sets: Iterable[FeatureSet]) -> str:
    """One row for each source that a set was judged on; the best of the shipped set and its baselines is bold."""
    rows = [_row(used, name, metric) for used in sets for name, metric in used.metrics.items() if metric.left_out]
    return "\n".join([_HEAD, *rows])


def false_positive_table(sets: Iterable[FeatureSet]) -> str:
    """What each threshold was set to, and what it then let through on texts of other authors."""
    lines = ["| Set | Target FPR | Measured FPR (95 % interval) | n |", "|---|---|---|---|"]
    for used in sets:
        if (c := used.calibration) is not None:
            low, high = c.interval_95
            lines.append(
                f"| {used.id} | {c.target_fpr:.1%} | {c.measured_fpr:.1%} ({low:.1%} to {high:.1%}) | {c.measured_n} |"
            )
    return "\n".join(lines)


def _row(used: FeatureSet, name: str, metric: Metric) -> str:
    others = (metric.dense_probe_auroc, metric.word_only_auroc)
    best = max((a for a in (metric.auroc, *others) if a is not None), default=None)
    cells = [
        used.id,
        name,
        f"{metric.n_positive} / {metric.n_negative}",
        _area(metric.auroc, metric.auroc_interval_95, best),
        _area(metric.weighted_auroc),
        _area(metric.with_probe_auroc),
        _area(metric.dense_probe_auroc, metric.dense_probe_interval_95, best),
        _area(metric.word_only_auroc, metric.word_only_interval_95, best),
        *(_area(value) for value in (metric.pair_win_rate, metric.auroc_vs_benign, metric.recall_at_1pct_fpr)),
    ]
    return f"| {' | '.join(cells)} |"


def _area(value: float | None, interval: tuple[float, float] | None = None, best: float | None = None) -> str:
    if value is None:
        return ""
    shown = f"**{value:.2f}**" if value == best else f"{value:.2f}"
    return shown if interval is None else f"{shown} ({interval[0]:.2f} to {interval[1]:.2f})"
