"""SummaryTable: the figures of a run on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from monitor.report.summary import Summary, counted
from monitor.report.terminal import spoken
from monitor.report.terminal_text import TerminalText


@dataclass(frozen=True)
class SummaryTable:
    """What was found in each category; for labelled events also what was missed and falsely flagged."""

    summary: Summary

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        terminal = TerminalText.of(console, options)
        if self.summary.by_category or self.summary.categories:
            yield self._table(terminal)
        for line in self._lines(terminal):
            yield Text(line)

    def _table(self, terminal: TerminalText) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column("Category")
        labelled = self.summary.categories
        columns = ("written", "found", "missed", "other risk", "false alarms") if labelled else ()
        for name in ("alerts", *columns):
            table.add_column(name, justify="right")
        alerts = {category: sum(counts.values()) for category, counts in self.summary.by_category.items()}
        if not labelled:
            for category, count in alerts.items():
                table.add_row(Text(terminal.safe(spoken(category))), str(count))
        for row in labelled:
            figures = (row.written, row.found, row.missed, row.other_risky, row.false_alarms)
            table.add_row(
                Text(terminal.safe(spoken(row.category))), str(alerts.get(row.category, 0)), *map(str, figures)
            )
        return table

    def _lines(self, terminal: TerminalText) -> Iterator[str]:
        summary = self.summary
        if summary.benign:
            kinds = ", ".join(f"{row.flagged} of {row.events} {spoken(row.kind)}" for row in summary.benign)
            yield terminal.safe(f"Benign events flagged: {kinds}.")
        severities = ", ".join(f"{count} {severity}" for severity, count in summary.by_severity.items())
        alerts = f"{counted(summary.alerts, 'alert')} on {counted(summary.flagged_events, 'event')}"
        yield f"{alerts}: {severities}." if severities else f"{alerts}."
        read = ", ".join(_known((("events", summary.events, "d"), ("tokens", summary.tokens, ",d"))))
        if read and summary.seconds is not None:
            read += f" in {summary.seconds:.1f} s"
        rates = (
            ("tokens/s", summary.tokens_per_second, ",.0f"),
            ("bad events", summary.bad_events, "d"),
            ("lag", summary.lag, "d"),
        )
        if read:
            yield f"Read {', '.join((read, *_known(rates)))}."


def _known(figures: Iterable[tuple[str, float | None, str]]) -> Iterator[str]:
    return (f"{value:{form}} {name}" for name, value, form in figures if value is not None)
