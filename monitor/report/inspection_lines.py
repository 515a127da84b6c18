"""InspectionLines: an inspection for a terminal of 80 columns; nothing in a record can steer the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.text import Text

from monitor.events.event import Origin
from monitor.report.inspection import WHY_REPAIRED, WHY_UNREAD, InspectedEvent, InspectedSegment, Inspection
from monitor.report.left_out import LeftOut
from monitor.report.terminal_text import TerminalText

_MAX_LEFT_OUT = 8
_MAX_LABELS = 3
_CHARS_WIDTH = 7
_MIN_TEXT = 12


@dataclass(frozen=True)
class InspectionLines:
    """A heading, one line for each segment, what can't be read, and the text that is left out."""

    inspection: Inspection
    with_text: bool
    of_topic: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        terminal, width = TerminalText.of(console, options), options.max_width
        found = self.inspection
        yield _wrapped(terminal, self._heading(), "bold")
        if found.bad is not None:
            yield _wrapped(terminal, f"  bad event ({found.bad.kind}): {found.bad}", "red")
        for item in found.events:
            yield from self._event(item, terminal, width)
        yield from self._left_out(terminal, width)

    def _heading(self) -> str:
        found = self.inspection
        parts = [where(found.origin, self.of_topic)]
        if found.formats:
            inside = "".join(f" in {name}" for name in reversed(found.envelopes))
            parts.append(f"format {', '.join(found.formats)}{inside}")
        if len(found.events) > 1:
            parts.append(f"{len(found.events)} events")
        return ": ".join((parts[0], ", ".join(parts[1:]))) if parts[1:] else parts[0]

    def _event(self, item: InspectedEvent, terminal: TerminalText, width: int) -> Iterator[RenderableType]:
        event = item.event
        known = [f"event {event.id}"]
        known += [event.time.isoformat()] if event.time else []
        known += [f"model {event.model}"] if event.model else []
        known += [f"{name} {value}" for name, value in event.attributes.items() if isinstance(value, str | int)]
        yield _wrapped(terminal, f"  {', '.join(known)}")
        names = [terminal.fit(_name(segment), width // 3) for segment in item.segments]
        name_width = max(map(cell_len, names), default=0)
        for name, segment in zip(names, item.segments, strict=True):
            line = Text("    ").append(name)
            line.pad_right(name_width - cell_len(name))
            line.append(f"{len(segment.text):>{_CHARS_WIDTH},} chars")
            yield self._with_text(line, segment.text, terminal, width)
        unread = {s.name: None for s in item.segments if not s.read_by}
        for name in unread:
            yield _wrapped(terminal, f"    {name}: no feature set reads this segment", "yellow")
        for kind, n in event.unread.items():
            yield _wrapped(terminal, f"    not read: {n} {kind}: {WHY_UNREAD[kind]}", "yellow")
        for repair, n in event.repaired.items():
            yield _wrapped(terminal, f"    repaired: {n} {repair}: {WHY_REPAIRED[repair]}", "yellow")
        if not event.response:
            yield Text("    no response", style="yellow")

    def _left_out(self, terminal: TerminalText, width: int) -> Iterator[RenderableType]:
        texts = sorted((item for item in self.inspection.left_out if not item.is_label), key=lambda i: -len(i.text))
        labels = [item for item in self.inspection.left_out if item.is_label]
        if texts or labels:
            yield Text("  left out, in no segment:", style="yellow")
        for item in texts[:_MAX_LEFT_OUT]:
            yield from self._one_left_out(item, terminal, width)
        if len(texts) > _MAX_LEFT_OUT:
            yield Text(f"    and {len(texts) - _MAX_LEFT_OUT:,} more texts; --json has all")
        if labels:
            some = ", ".join(item.path for item in labels[:_MAX_LABELS])
            dots = ", ..." if len(labels) > _MAX_LABELS else ""
            yield _wrapped(terminal, f"    {len(labels):,} single words, as ids and names are: {some}{dots}")

    def _one_left_out(self, item: LeftOut, terminal: TerminalText, width: int) -> Iterator[RenderableType]:
        yield _wrapped(terminal, f"    {item.path}: {item.why}")
        line = Text("      ").append(f"{len(item.text):,} chars")
        yield self._with_text(line, item.text, terminal, width)

    def _with_text(self, line: Text, text: str, terminal: TerminalText, width: int) -> Text:
        room = width - line.cell_len - 2
        if self.with_text and room >= _MIN_TEXT:
            line.append("  ").append(terminal.fit(text[: 4 * width], room))
        return line


def _name(segment: InspectedSegment) -> str:
    return segment.name if segment.name != "other" else f"other, role {segment.role}"


def where(origin: Origin, of_topic: bool) -> str:
    """A place that a person can go to: partition and offset of a topic, or line or row of a file."""
    if of_topic:
        return f"{origin.topic}-{origin.partition} offset {origin.offset}"
    return f"{origin.topic}:{origin.offset}"


def _wrapped(terminal: TerminalText, text: str, style: str = "") -> Padding:
    """`text`, safe to print, in as many lines as it needs, all with the spaces that it begins with."""
    indent = len(text) - len(text.lstrip(" "))
    return Padding(Text(terminal.safe(text.lstrip(" ")), style=style), (0, 0, 0, indent), expand=False)
