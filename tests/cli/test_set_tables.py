"""Tables of sets: they fit 80 columns, and show what an operator needs."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from rich.console import Console

from detectors.feature_set import FeatureSet
from monitor.cli.figures_table import figures_table, sparsity_table, summary_table
from monitor.cli.set_tables import overview, show
from monitor.sets.load import LoadedSet
from tests.feature_set_factory import make_set, make_weighted
from tests.shipped_sets import shipped_set

CALIBRATION = {
    "benign": "some texts", "n": 500, "target_fpr": 0.01, "measured_fpr": 0.0025, "measured_n": 800,
    "interval_95": [0.0003, 0.009], "date": "2026-11-23",
}  # fmt: skip
COUNTS: dict[str, Any] = {"n_positive": 9, "n_negative": 9}
METRICS = {
    "one": {**COUNTS, "auroc": 0.5, "dense_probe_auroc": 0.62, "held_out": True},
    "two": {**COUNTS, "auroc": 0.8, "word_only_auroc": 0.55, "held_out": True},
    "own_one": {**COUNTS, "auroc": 0.9, "held_out": True},
    "fitted": {**COUNTS, "auroc": 1.0, "held_out": False},
}


def loaded(used: FeatureSet) -> LoadedSet:
    return LoadedSet(Path("sets/a.yaml"), "a" * 64, used, used)


def overview_lines(*sets: LoadedSet) -> list[str]:
    console = Console(file=io.StringIO(), width=80)
    console.print(overview(sets))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def show_lines(one: LoadedSet) -> list[str]:
    console = Console(file=io.StringIO(), width=80)
    show(console, one)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_the_overview_has_two_lines_a_set() -> None:
    used = make_weighted(
        id="bias", segments=["user", "response"], threshold=0.62498, calibration=CALIBRATION, metrics=METRICS
    )
    assert overview_lines(loaded(used)) == [
        "set                                         FPR target, held-out AUROC",
        "version, status severity segments threshold    measured by others, own",
        "bias            medium   user,        0.625        1.0%   0.50 to 0.80",
        "1.0.0 test               response                  0.2%           0.90",
    ]


def test_languages_are_shown_if_a_set_states_them() -> None:
    english = loaded(make_set(languages=["en", "de"]))
    assert [line.split() for line in overview_lines(english)[2:]] == [
        ["unsafe-code", "medium", "response", "any"],
        ["1.0.0", "test", "in", "en,", "de"],
    ]
    assert "Languages: en, de; it abstains in others" in show_lines(english)
    assert not any(line.startswith("Languages") for line in show_lines(loaded(make_set())))


def test_a_set_without_figures() -> None:
    lines = overview_lines(loaded(make_set(condition={"kind": "k_of_n", "k": 2})), loaded(make_set()))
    assert [line.split() for line in lines[2:]] == [
        ["unsafe-code", "medium", "response", "2", "of", "2"],
        ["1.0.0", "test"],
        ["unsafe-code", "medium", "response", "any"],
        ["1.0.0", "test"],
    ]


def test_nothing_is_cut_in_80_columns() -> None:
    shipped = [shipped_set(name) for name in ("bias", "dangerous_advice")]
    text = "\n".join(overview_lines(*shipped))
    assert "…" not in text
    assert "0.5.0 experimental" in text
    for one in shipped:
        lines = show_lines(one)
        assert all(len(line) <= 80 for line in lines if str(one.path) not in line)
        assert "…" not in "\n".join(lines)
        assert f"sha256 {one.sha256}" in lines[-1]


def test_show_names_the_strongest_features_of_many_and_all_of_few() -> None:
    features = [{"index": n, "label": f"latent {n}", "weight": n / 10 - 1} for n in range(16)]
    many = show_lines(loaded(make_weighted(features=features)))
    start = many.index("Features: the 12 highest weights of 16; --json has all") + 2
    assert [line.split()[0] for line in many[start : start + 12]] == [str(n) for n in range(15, 3, -1)]
    few = show_lines(loaded(make_weighted()))
    assert [line.split() for line in few if "eval of input" in line] == [["7", "eval", "of", "input", "-0.25"]]


def test_show_says_how_the_set_decides() -> None:
    used = make_weighted(
        segments=["user", "response"],
        combine_segments="mean",
        calibration=CALIBRATION,
        metrics=METRICS,
        escalations=[{"score": 0.9, "severity": "high"}],
    )
    text = " ".join(" ".join(show_lines(loaded(used))).split())
    assert "Segments: user, response; the event's score is their mean" in text
    assert "Threshold: 0.5, severity medium" in text
    assert "Escalation: high at a score of 0.9 or more" in text
    assert "target 1.00% false positives, measured 0.25% (95 % interval 0.03% to 0.90%)" in text
    assert "fitted * 9, 9 1.00" in text


def test_the_markdown_summary_has_one_row_a_set() -> None:
    used = make_weighted(title="Bias and hate", id="bias", calibration=CALIBRATION, metrics=METRICS)
    assert summary_table([used, make_set()]).splitlines() == [
        "| Set | AUROC: by others / own | dense probe | word-only | measured FPR |",
        "|---|---|---|---|---|",
        "| Bias and hate (`bias`) | 0.50 to 0.80 / 0.90 | 0.62 / - | 0.55 / - | 0.2% |",
        "| Unsafe code (`unsafe-code`) | - / - | - / - | - / - |  |",
    ]


def test_the_full_markdown_table_has_one_row_a_held_out_source() -> None:
    rows = figures_table([make_weighted(id="bias", metrics=METRICS)]).splitlines()[2:]
    assert [row.split(" | ")[1] for row in rows] == ["one", "two", "own_one"]
    assert "| one | 9 / 9 | 0.50 |  |  | **0.62** |" in rows[0]


def test_the_cost_of_sparsity_has_a_column_a_size() -> None:
    sizes = {
        "all": {"auroc": 0.8, "recall_at_1pct_fpr": 0.5},
        "64": {"auroc": 0.71, "recall_at_1pct_fpr": None},
    }
    one = {"auroc": 0.7, "n_positive": 9, "n_negative": 9, "held_out": True}
    used = make_weighted(id="bias", metrics={"one": {**one, "by_size": sizes}, "two": one})
    assert sparsity_table([used, make_set()]).splitlines() == [
        "| Set | Held-out source | all | 64 |",
        "|---|---|---|---|",
        "| bias | one | 0.80, 0.50 | 0.71, - |",
    ]


def test_nothing_in_a_set_steers_the_terminal() -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\u202e [bold red]markup[/bold red] [link=http://x]y[/link]"
    features = [{"index": 3, "label": evil, "label_score": 0.9, "threshold": 2.0}]
    texts = {"title": evil, "description": evil, "definition": evil, "falsepositives": [evil], "known_gaps": [evil]}
    console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system="standard")
    show(
        console,
        loaded(make_set(features=features, metrics={evil: {**COUNTS, "auroc": 0.5, "held_out": True}}, **texts)),
    )
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert shown.count("[bold red]markup[/bold red]") >= 6
    assert "\u202e" not in shown
    assert "\x07" not in shown
    # the only escapes are our own styles
    assert all(part[0] == "[" and "m" in part[:6] for part in shown.split("\x1b")[1:])
