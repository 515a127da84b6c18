"""ComparisonTable: a comparison of traffic for the terminal."""

from __future__ import annotations

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from monitor.drift.comparison import Comparison, Row, Side
from monitor.report.visible_text import visible_line


class ComparisonTable:
    """One line for each set and feature, those that changed first."""

    def __init__(self, comparison: Comparison, show_all: bool) -> None:
        """Shows only what changed unless `show_all`."""
        self._comparison = comparison
        self._show_all = show_all

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows, changed = self._comparison.rows, self._comparison.changed
        shown = rows if self._show_all else changed
        if shown:
            yield self._table(shown)
        few = sum(row.too_few for row in rows)
        yield Text(
            f"{len(changed)} of {len(rows)} changed (false discoveries: at most {self._comparison.fdr:.0%})"
            + (f"; {few} had too few events to tell" if few else "")
        )

    def _table(self, rows: tuple[Row, ...] | list[Row]) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        groups = [name for name, _ in rows[0].subject.group]
        for name in ("Set or feature", *groups):
            table.add_column(name)
        for name in ("before", "now", "times (95 %)", "q", "median", "p99", "distance", "q"):
            table.add_column(name, justify="right")
        table.add_column("")
        for row in rows:
            values = [visible_line(value) if value is not None else "-" for _, value in row.subject.group]
            verdict = "changed" if row.changed(self._comparison.fdr) else "too few" if row.too_few else ""
            table.add_row(Text(_name(row)), *map(Text, values), *_figures(row), verdict)
        return table


def _name(row: Row) -> str:
    name = visible_line(row.subject.set_id)
    if row.subject.feature is None:
        return name
    return f"  {name}/{row.subject.feature} {visible_line(row.label)}".rstrip()


def _figures(row: Row) -> list[str]:
    ratio = "-" if row.ratio is None else "{:.2f} ({:.2f}-{:.2f})".format(*row.ratio)
    return [
        _rate(row.baseline),
        _rate(row.current),
        ratio,
        _q(row.rate_q),
        _shift(row, 0.5),
        _shift(row, 0.99),
        "-" if row.distance is None else f"{row.distance:.3f}",
        _q(row.distance_q),
    ]


def _rate(side: Side) -> str:
    return "no events" if side.rate is None else f"{side.rate:.3%} of {side.events}"


def _q(value: float | None) -> str:
    return "-" if value is None else "<.001" if value < 0.001 else f"{value:.3f}"


def _shift(row: Row, share: float) -> str:
    values = (row.baseline.values.quantile(share), row.current.values.quantile(share))
    return " -> ".join("-" if value is None else f"{value:.3g}" for value in values)
