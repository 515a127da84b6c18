"""The measured figures of feature sets as Markdown tables, for README and docs."""

from __future__ import annotations

from collections.abc import Iterable

from detectors.feature_set import FeatureSet
from detectors.metrics import Metric, Range, SizeFigures, summarised
from monitor.cli.set_tables import range_text

_HEAD = (
    "| Set | Held-out source | n+ / n- | AUROC (95 % interval) | features only | with probe | dense probe "
    "| word-only | pairs won | vs. benign | recall at 1 % FPR |\n|---|---|---|---|---|---|---|---|---|---|---|"
)
_NO_FIGURES = SizeFigures(auroc=None, recall_at_1pct_fpr=None)
_SUMMARY_HEAD = "| Set | AUROC: by others / own | dense probe | word-only | measured FPR |\n|---|---|---|---|---|"


def summary_table(sets: Iterable[FeatureSet]) -> str:
    """One row for each set: lowest to highest AUROC over the held-out sources by others, and over own ones."""
    return "\n".join([_SUMMARY_HEAD, *map(_summary_row, sets)])


def figures_table(sets: Iterable[FeatureSet]) -> str:
    """One row for each held-out source of each set; the best of the set and its baselines is bold."""
    rows = [_row(used, name, metric) for used in sets for name, metric in used.metrics.items() if metric.held_out]
    return "\n".join([_HEAD, *rows])


def sparsity_table(sets: Iterable[FeatureSet]) -> str:
    """What fewer features cost: AUROC and recall at 1 % FPR of each held-out source, for each number of features.

    Empty if no set has such figures.
    """
    measured = [(used.id, *item) for used in sets for item in used.metrics.items() if item[1].by_size]
    if not measured:
        return ""
    sizes = list(dict.fromkeys(size for *_, metric in measured for size in metric.by_size))
    lines = [f"| Set | Held-out source | {' | '.join(sizes)} |", "|---|---|" + "---|" * len(sizes)]
    for set_id, source, metric in measured:
        figures = [metric.by_size.get(size, _NO_FIGURES) for size in sizes]
        cells = [f"{_area(f.auroc) or '-'}, {_area(f.recall_at_1pct_fpr) or '-'}" for f in figures]
        lines.append(f"| {set_id} | {source} | {' | '.join(cells)} |")
    return "\n".join(lines)


def false_positive_table(sets: Iterable[FeatureSet]) -> str:
    """The target false-positive rate of each set, and the rate measured on texts by other authors."""
    lines = ["| Set | Target FPR | Measured FPR (95 % interval) | n |", "|---|---|---|---|"]
    for used in sets:
        if (c := used.calibration) is not None:
            low, high = c.interval_95
            lines.append(
                f"| {used.id} | {c.target_fpr:.1%} | {c.measured_fpr:.1%} ({low:.1%} to {high:.1%}) | {c.measured_n} |"
            )
    return "\n".join(lines)


def _summary_row(used: FeatureSet) -> str:
    s = summarised(used.metrics)
    cells = [
        f"{used.title} (`{used.id}`)",
        _ranges(s.auroc_by_others, s.auroc_own),
        _ranges(s.dense_probe_by_others, s.dense_probe_own),
        _ranges(s.word_only_by_others, s.word_only_own),
        "" if used.calibration is None else f"{used.calibration.measured_fpr:.1%}",
    ]
    return f"| {' | '.join(cells)} |"


def _ranges(others: Range | None, own: Range | None) -> str:
    return f"{range_text(others)} / {range_text(own)}"


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
