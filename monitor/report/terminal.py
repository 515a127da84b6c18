"""Alerts on a terminal: one block each, the judged text shaded by activation strength."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from detectors.detector import scale_of
from detectors.feature_set import SEVERITIES, Severity
from monitor.alerts.alert import Alert
from monitor.report.shading import LIGHT, Run, shaded, strongest_window
from monitor.report.summary import Summary
from monitor.report.visible_text import visible_line

# Text and background are both given: a terminal's own colours may be dark on light or light on dark.
SEVERITY_STYLES: dict[Severity, str] = {
    "info": "#1c1a17 on #c8d3dd",
    "low": "#1c1a17 on #a9d6e5",
    "medium": "#1c1a17 on #ffd166",
    "high": "#1c1a17 on #ff9f5a",
    "critical": "bold #ffffff on #b3261e",
}
BRACKETED_FROM = 0.5
"""Without colours, tokens of this strength and more stand in brackets."""

_INDENT = re.compile(" {2,}")
_LEFT_COLUMN = 30
_STACKED_BELOW = 84


@dataclass(frozen=True)
class AlertTable:
    """Alerts as a rich renderable; falls back to brackets around the strongest tokens where there is no colour."""

    alerts: tuple[Alert, ...]
    width: int | None
    text_chars: int
    top_features: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(self.width or options.max_width, options.max_width)
        view = _View(
            coloured=console.color_system is not None and not console.no_color,
            encoding=options.encoding,
            text_chars=self.text_chars,
            top_features=self.top_features,
        )
        if not self.alerts:
            yield Text("No alerts.")
            return
        if width < _STACKED_BELOW:
            for alert in self.alerts:
                yield from view.stacked(alert)
            return
        table = Table(width=width, show_lines=True, pad_edge=False, border_style="dim")
        table.add_column("Alert", width=_LEFT_COLUMN, overflow="fold")
        table.add_column("Judged text, and the features active in it", ratio=1)
        for alert in self.alerts:
            table.add_row(view.heading(alert), view.evidence(alert))
        yield table


def alert_table(
    alerts: Sequence[Alert], width: int | None = None, *, text_chars: int = 240, top_features: int = 3
) -> AlertTable:
    """The alerts in the order given, for `Console.print`.

    `width` is in columns (None: all there are), `text_chars` the most characters of judged text for one alert.
    """
    return AlertTable(tuple(alerts), width, text_chars, top_features)


@dataclass(frozen=True)
class _View:
    """How one console shows alerts."""

    coloured: bool
    encoding: str
    text_chars: int
    top_features: int

    def heading(self, alert: Alert) -> Text:
        scale = scale_of(alert.detector, alert.unit)
        lines = [
            self._badge(alert),
            Text(self._safe(alert.event.id), style="bold"),
            Text(self._safe(f"{alert.score:.2f} / {alert.threshold:.2f} {scale.label}")),
        ]
        return Text("\n").join(lines)

    def stacked(self, alert: Alert) -> Iterator[RenderableType]:
        yield self.heading(alert)
        yield Padding(self.evidence(alert), (0, 0, 1, 2))

    def evidence(self, alert: Alert) -> Text:
        lines = [self._judged(alert)]
        for feature in alert.features[: self.top_features]:
            line = Text.assemble(("feature active  ", "dim"))
            line.append(f"#{feature.index} ", style="bold")
            line.append(self._safe(feature.label))
            line.append(f"  {feature.activation:.2f}", style="bold")
            lines.append(line)
        if (hidden := len(alert.features) - self.top_features) > 0:
            lines.append(Text(f"and {hidden} more", style="dim"))
        if alert.probe is not None:
            line = Text.assemble(("linear probe  ", "dim"))
            label = scale_of(alert.detector, alert.unit).contribution_label
            lines.append(line.append(self._safe(f"{alert.probe.contribution:+.2f} {label}"), style="bold"))
        return Text("\n").join(lines)

    def _badge(self, alert: Alert) -> Text:
        badge = Text(f" {alert.severity.upper()} ", style=SEVERITY_STYLES[alert.severity])
        return Text.assemble(badge, " ", (self._safe(alert.set.category.replace("_", " ")), "bold"))

    def _judged(self, alert: Alert) -> Text:
        if alert.content is None:
            return Text(
                f"content capture is off: {alert.segment.name}, {alert.segment.tokens} tokens, "
                f"{alert.segment.chars} characters",
                style="dim italic",
            )
        window = strongest_window(shaded(alert.content.text, alert.content.strengths), self.text_chars)
        line = Text("..." if window.cut_before else "")
        for text, style in self._pieces(window.runs):
            line.append(text, style=style)
        return line.append("..." if window.cut_after else "")

    def _pieces(self, runs: Sequence[Run]) -> Iterator[tuple[str, str]]:
        if self.coloured:
            for run in runs:
                background, text = LIGHT[run.level - 1] if run.level else ("", "")
                yield self._safe(run.text), f"{text} on {background}" if run.level else ""
            return
        inside = False
        for run in runs:
            if (run.strength >= BRACKETED_FROM) != inside:
                inside = not inside
                yield "[" if inside else "]", ""
            yield self._safe(run.text), ""
        if inside:
            yield "]", ""

    def _safe(self, text: str) -> str:
        line = _INDENT.sub(" ", visible_line(text))
        # a stream that is not UTF-8 would raise in the middle of the table
        return line.encode(self.encoding, "replace").decode(self.encoding)


def summary_tables(summary: Summary) -> RenderableType:
    """The counts by category, how labelled events came out, and the rates."""
    parts: list[RenderableType] = []
    if summary.by_category:
        counts = Table(title="Alerts", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        counts.add_column("Category")
        severities = [s for s in reversed(SEVERITIES) if any(s in row for row in summary.by_category.values())]
        for name in (*severities, "all"):
            counts.add_column(name, justify="right")
        for category, row in summary.by_category.items():
            cells = [str(row.get(s, 0)) for s in severities]
            counts.add_row(_name(category), *cells, str(sum(row.values())))
        parts.append(counts)
    if summary.outcomes:
        labelled = Table(
            title="How the labelled events came out", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
        )
        labelled.add_column("Written as")
        for name in ("Events", "Flagged as that", "Flagged at all"):
            labelled.add_column(name, justify="right")
        for outcome in summary.outcomes:
            row_name = _name(outcome.name).append(" (benign)" if outcome.benign else "")
            own = "-" if outcome.benign else str(outcome.as_labelled)
            labelled.add_row(row_name, str(outcome.events), own, str(outcome.flagged))
        parts.append(labelled)
    figures = (
        ("events", summary.events, "d"),
        ("bad events", summary.bad_events, "d"),
        ("tokens", summary.tokens, ",d"),
        ("seconds", summary.seconds, ".1f"),
        ("events/s", summary.events_per_second, ".1f"),
        ("tokens/s", summary.tokens_per_second, ",.0f"),
        ("lag", summary.lag, "d"),
    )
    known = ", ".join(f"{value:{form}} {name}" for name, value, form in figures if value is not None)
    parts.append(Text(f"{summary.alerts} alerts; {known}" if known else f"{summary.alerts} alerts"))
    return Group(*parts)


def _name(category: str) -> Text:
    return Text(visible_line(category.replace("_", " ")))
