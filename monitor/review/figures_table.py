"""The measured figures of feature sets as a Markdown table, for README and docs."""

from __future__ import annotations

from collections.abc import Iterable

from detectors.feature_set import FeatureSet, Metric

_HEAD = (
    "| Set | Source, left out of fitting | n+ / n- | AUROC (95 % interval) | dense probe | word-only | pairs won "
    "| vs. benign | recall at 1 % FPR |\n|---|---|---|---|---|---|---|---|---|"
)


def figures_table(sets: Iterable[FeatureSet]) -> str:
    """One row for each source that a set was judged on; the best AUROC of a row is bold."""
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
    aurocs = [metric.auroc, metric.dense_probe_auroc, metric.word_only_auroc]
    best = max((a for a in aurocs if a is not None), default=None)
    ours, dense, words = ("" if a is None else f"**{a:.2f}**" if a == best else f"{a:.2f}" for a in aurocs)
    if metric.auroc_interval_95 is not None:
        ours += f" ({metric.auroc_interval_95[0]:.2f} to {metric.auroc_interval_95[1]:.2f})"
    rest = (metric.pair_win_rate, metric.auroc_vs_benign, metric.recall_at_1pct_fpr)
    shown = ("" if value is None else f"{value:.2f}" for value in rest)
    counts = f"{metric.n_positive} / {metric.n_negative}"
    return f"| {used.id} | {name} | {counts} | {ours} | {dense} | {words} | {' | '.join(shown)} |"
