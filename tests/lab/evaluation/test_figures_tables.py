"""Tables of an evaluation: every figure whole in 80 columns, one table for each set and file."""

from __future__ import annotations

import io
import math
from typing import Any

from rich.console import Console

from monitor.lab.evaluation.comparison import Figures
from monitor.lab.evaluation.figures_tables import figures_tables


def figures(**changes: Any) -> Figures:
    given = {
        "set_id": "dangerous_advice",
        "detector": "profanity_check",
        "detail": "",
        "file": "folder/some_long_name_of_rows.jsonl",
        "source": "",
        "n_pos": 222,
        "n_neg": 285,
        "n_benign": 0,
        "auroc": 0.7412,
        "auroc_ci": (0.7123, 0.7712),
        "auprc": 0.699,
        "auprc_ci": (0.6, 0.8),
        "recall_at_1pct_fpr": 0.171,
        "recall_at_1pct_fpr_ci": (0.064, 0.273),
        "recall_at_01pct_fpr": math.nan,
        "pair_win_rate": 0.904,
        "pair_win_rate_ci": (0.852, 0.943),
        "n_pairs": 9,
        "length_matched_auroc": 0.781,
        "fpr_at_shipped_threshold": 0.1441,
        "fpr_ci": (0.1019, 0.1955),
    }
    return Figures(**{**given, **changes})


def printed(*of: Figures) -> str:
    out = io.StringIO()
    console = Console(file=out, width=80)
    for table in figures_tables(of):
        console.print(table)
    return out.getvalue()


def test_every_figure_is_whole_in_80_columns() -> None:
    text = printed(figures())
    assert "…" not in text
    lines = [line.split() for line in text.splitlines()]
    assert ["profanity_check", "0.74", "0.78", "0.70", "0.17", "0.90", "14.4%"] in lines
    assert ["0.71-0.77", "0.06-0.27", "0.85-0.94", "10.2-19.6%"] in lines


def test_what_does_not_apply_is_left_empty() -> None:
    unknown = {"fpr_at_shipped_threshold": math.nan, "fpr_ci": (math.nan, math.nan), "pair_win_rate": math.nan}
    lines = [line.split() for line in printed(figures(**unknown, auroc_ci=(math.nan, math.nan))).splitlines()]
    assert ["profanity_check", "0.74", "0.78", "0.70", "0.17"] in lines
    assert ["0.06-0.27"] in lines


def test_one_table_for_each_set_and_file() -> None:
    text = printed(
        figures(), figures(detector="minilm"), figures(set_id="[bias]", n_benign=40), figures(file="folder/b.jsonl")
    )
    titles = [line.strip() for line in text.splitlines() if " on " in line]
    assert titles == [
        "dangerous_advice on some_long_name_of_rows.jsonl: 222 risky, 285 harmless",
        "[bias] on some_long_name_of_rows.jsonl: 222 risky, 285 harmless, 40 benign",
        "dangerous_advice on b.jsonl: 222 risky, 285 harmless",
    ]
    first, second, third = (text.index(title) for title in titles)
    assert first < text.index("minilm") < second < third
