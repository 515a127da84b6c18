"""Flagged events on a terminal: one line each, or in full, with the text shaded by activation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.text import Text

from detectors.detector import scale_of
from detectors.feature_set import SEVERITIES, Severity
from monitor.alerts.alert import Alert
from monitor.report.flagged_event import FlaggedEvent
from monitor.report.score import percent, unit
from monitor.report.terminal_text import TerminalText

_GAP = 2
_SEVERITY_WIDTH = len("critical")
_MAX_ID = 16
_CATEGORIES_WIDTH = 16
_MAX_FEATURES = 4
_MIN_TEXT = 12
"""A narrower piece of text is of no use."""


@dataclass(frozen=True)
class EventLines:
    """One line for each of the first `limit` events, and one that counts the rest."""

    events: Sequence[FlaggedEvent]
    limit: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        terminal = TerminalText.of(console, options)
        width = options.max_width
        shown, rest = self.events[: self.limit], self.events[self.limit :]
        ids = [terminal.fit(event.id, _MAX_ID) for event in shown]
        scores = [_score(event.most_severe) for event in shown]
        id_width = max((Text(text).cell_len for text in ids), default=0)
        score_width = max(map(len, scores), default=0)
        for event, event_id, score in zip(shown, ids, scores, strict=True):
            line = terminal.severity(event.severity)
            line.pad_right(_SEVERITY_WIDTH + _GAP - len(event.severity))
            line.append(event_id).pad_right(id_width + _GAP - Text(event_id).cell_len)
            line.append(f"{score:>{score_width}}").pad_right(_GAP)
            self._finish(line, event, terminal, width)
            line.truncate(width, overflow="crop")
            yield line
        if rest:
            yield Text(terminal.fit(f"and {len(rest)} more: {_severities(rest)}", width), style="dim")

    def _finish(self, line: Text, event: FlaggedEvent, terminal: TerminalText, width: int) -> None:
        """Appends the categories and as much of the text as fits after them."""
        names = terminal.fit(", ".join(map(spoken, event.categories)), max(0, width - line.cell_len))
        line.append(names, style="bold")
        line.pad_right(max(0, _CATEGORIES_WIDTH - Text(names).cell_len) + _GAP)
        if (room := width - line.cell_len) >= _MIN_TEXT:
            line.append_text(terminal.strongest_text(event.most_severe, room))


@dataclass(frozen=True)
class EventInFull:
    """One event: its sets with scores, the user's turn, the text and the evidence of the most severe alert."""

    event: FlaggedEvent
    text_lines: int = 2

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        terminal = TerminalText.of(console, options)
        alert = self.event.most_severe
        width = max(1, options.max_width - _GAP)
        heading = terminal.severity(alert.severity).append("  ", style="not bold")
        heading.append(terminal.safe(spoken(alert.set.category)), style="bold")
        heading.append(f"  {terminal.safe(self.event.id)}  {_score(alert)} {terminal.safe(unit(alert))}")
        heading.append(terminal.safe("".join(f"; {spoken(a.set.category)} {_score(a)}" for a in self.event.alerts[1:])))
        heading.truncate(options.max_width, overflow="crop")
        yield heading
        if alert.content is not None and alert.content.prompt:
            yield _indented(Text(terminal.fit(f"User: {alert.content.prompt}", width), style="dim"))
        # wrapping leaves the ends of lines empty, so a little less than full lines
        text = terminal.strongest_text(alert, max(width, self.text_lines * (width - 6)))
        for line in text.wrap(console, width)[: self.text_lines]:
            line.rstrip()
            yield _indented(line)
        evidence = "; ".join(_evidence(alert))
        yield _indented(Text(terminal.fit(evidence[:1].upper() + evidence[1:], width)))


def _indented(line: Text) -> Padding:
    return Padding(line, (0, 0, 0, _GAP), expand=False)


def _evidence(alert: Alert) -> Iterator[str]:
    """The named features, the probe, and the sum of the features without a name, each with its part of the score."""
    named = [f"{f.label} (#{f.index}) {percent(f.share)}" for f in alert.features]
    if named:
        yield f"features: {', '.join(named[:_MAX_FEATURES])}"
    if alert.probe is not None:
        label = scale_of(alert.detector, alert.unit).contribution_label
        yield f"linear probe {alert.probe.contribution:+.2f} {label}, {percent(alert.probe.share)}"
    if alert.unnamed is not None:
        count = alert.unnamed.features
        yield f"{count} unnamed feature{'' if count == 1 else 's'}, {percent(alert.unnamed.share)} of the score"


def spoken(category: str) -> str:
    """A category as a person writes it."""
    return category.replace("_", " ")


def _score(alert: Alert) -> str:
    return f"{alert.score:.2f}/{alert.threshold:.2f}"


def _severities(events: Sequence[FlaggedEvent]) -> str:
    counts = Counter[Severity](event.severity for event in events)
    return ", ".join(f"{counts[s]} {s}" for s in reversed(SEVERITIES) if counts[s])
