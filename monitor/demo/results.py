"""Prints what a demo found, in fewer than 80 lines."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from monitor.alerts.alert import Alert
from monitor.demo.files import DemoFiles
from monitor.report.flagged_event import flagged_events, most_severe_of_each_category
from monitor.report.summary import Summary
from monitor.report.terminal import EventInFull, EventLines
from monitor.report.terminal_summary import SummaryTable

MAX_LINES = 32
"""Most events listed; the report has all of them."""
IN_FULL = 3


def print_results(console: Console, alerts: Sequence[Alert], summary: Summary, files: DemoFiles) -> None:
    """One line per event, a few events in full, the figures, and where to read on."""
    events = flagged_events(alerts)
    if events:
        _heading(console, "Flagged events, most severe first: score/threshold, categories, strongest words")
        console.print(EventLines(events, MAX_LINES))
        _heading(console, "\nThe most severe in full")
        for event in most_severe_of_each_category(events, IN_FULL):
            console.print(EventInFull(event))
    else:
        console.print("No alerts: no feature set reached its threshold.")
    _heading(console, "\nFound and missed, by category")
    console.print(SummaryTable(summary))
    console.print("An active feature is not behaviour, and mention is not use: read the text.", style="dim")
    for name, path in (("Alerts", files.alerts), ("Report", files.report)):
        # soft_wrap: a path that is broken over lines cannot be clicked or copied
        console.print(Text(f"{name}: {path}"), soft_wrap=True)


def _heading(console: Console, text: str) -> None:
    console.print(Text(text, style="bold"))
