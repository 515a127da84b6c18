"""Figures and texts of a steering run for a terminal, and the figures of several runs as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

from rich.markup import escape
from rich.table import Table

from monitor.lab.steering.steer_figures import SteerFigures
from monitor.lab.steering.steer_page import figure, heading
from monitor.lab.steering.steer_run import SteerRun
from monitor.report.visible_text import visible, visible_line

_FIGURES = ("over threshold", "KL, nats", "perplexity", "different tokens")
_COLUMNS = ("value", "score while held", "score of the text", *_FIGURES)
_EXAMPLE_COLUMNS = ("times the largest", "score while held", "score of the text (95 %)", *_FIGURES)


def steer_table(run: SteerRun) -> Iterator[Table]:
    """A table of figures; and for each prompt one with the base and the steered texts side by side."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("condition")
    for column in _COLUMNS:
        table.add_column(column, justify="right")
    for f in run.figures:
        numbers = (f.value, f.held_score, f.score, f.rate, f.divergence, f.perplexity, f.distinct)
        table.add_row(f.kind, *map(figure, numbers))
    yield table
    for number, prompt in enumerate(run.request.prompts):
        own = [t for t in run.texts if t.prompt == number and t.condition.kind in ("base", "feature")]
        shown = own[:: run.request.samples]
        side = Table(title=escape(visible_line(prompt)), show_lines=True)
        for text in shown:
            side.add_column(heading(text), overflow="fold", ratio=1)
        side.add_row(*(escape(visible(text.text)) for text in shown))
        yield side


def examples_table(runs: Mapping[str, SteerRun]) -> str:
    """Markdown: for each example the mean score at each multiple of the largest activation, and of its controls."""
    names = ["Set", "Feature", "Condition", *(name[0].upper() + name[1:] for name in _EXAMPLE_COLUMNS)]
    lines = [f"| {' | '.join(names)} |", "|---" * 3 + "|---:" * len(_EXAMPLE_COLUMNS) + "|"]
    for set_id, run in runs.items():
        label = visible_line(run.label).replace("|", "\\|")
        first = [set_id, f"{run.request.feature}: {label}"]
        for n, f in enumerate(run.figures):
            lines.append(f"| {' | '.join(['', ''] if n else first)} | {_cells(f, run.largest or 1.0)} |")
    return "\n".join(lines)


def is_monotone(run: SteerRun, held: bool) -> bool:
    """Whether the score of the feature's texts, or the one while it is held, never falls as the value rises."""
    chosen = sorted((f for f in run.figures if f.kind == "feature"), key=lambda f: f.value)
    return all(b >= a for a, b in pairwise(f.held_score if held else f.score for f in chosen))


def _cells(f: SteerFigures, largest: float) -> str:
    times = "" if f.kind == "base" else f"{f.value / largest:.3g}"
    low, high = f.score_interval
    cells = (
        f.kind,
        times,
        f"{f.held_score:.3f}",
        f"{f.score:.3f} ({low:.3f} to {high:.3f})",
        f"{f.rate:.2f}",
        f"{f.divergence:.2f}",
    )
    return " | ".join((*cells, figure(f.perplexity), f"{f.distinct:.2f}"))
