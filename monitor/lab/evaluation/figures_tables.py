"""Tables of an evaluation's figures, one for each set and file, that fit a terminal of 80 columns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from monitor.lab.evaluation.comparison import Figures, Interval, by_file, figure_text

_COLUMNS = (
    "detector",
    "AUROC",
    "length-\nmatched",
    "AUPRC",
    "recall at\n1 % FPR",
    "at\n0.1 %",
    "pairs\nwon",
    "FPR at\nthreshold",
)


def figures_tables(figures: Sequence[Figures]) -> Iterable[Table]:
    """The tables, in the order of sets and files. 95 % intervals are below the figures."""
    for of in by_file(figures):
        first = of[0]
        negatives = f"{first.n_neg} harmless" + (f", {first.n_benign} benign" if first.n_benign else "")
        title = f"{first.set_id} on {Path(first.file).name}: {first.n_pos} risky, {negatives}"
        table = Table(title=escape(title), title_justify="left", box=None, padding=(0, 1, 0, 0), pad_edge=False)
        for column in _COLUMNS:
            table.add_column(column, no_wrap=True)
        for f in of:
            table.add_row(
                escape(f.detector),
                _cell(f.auroc, f.auroc_ci),
                _cell(f.length_matched_auroc),
                _cell(f.auprc),
                _cell(f.recall_at_1pct_fpr, f.recall_at_1pct_fpr_ci),
                _cell(f.recall_at_01pct_fpr),
                _cell(f.pair_win_rate, f.pair_win_rate_ci),
                _percent(f.fpr_at_shipped_threshold, f.fpr_ci),
            )
        yield table


def _cell(value: float, interval: Interval | None = None) -> str:
    return figure_text(value, interval, form="{}\n{}-{}")


def _percent(value: float, interval: Interval) -> str:
    if math.isnan(value):
        return ""
    return f"{value:.1%}\n{100 * interval[0]:.1f}-{interval[1]:.1%}"
