"""InspectionLines: an inspection for a terminal of 80 columns; nothing in a record can steer the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
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
        page = _Page(console, TerminalText.of(console, options), options.max_width, self.with_text)
        found = self.inspection
        yield from page.wrapped(self._heading(), "bold")
        for fault in found.bad:
            yield from page.wrapped(f"  bad event ({fault.kind}): {fault}", "red")
        if not found.events and not found.bad:
            yield from page.wrapped("  nothing to judge: nobody says anything here")
        for item in found.events:
            yield from _event(item, page)
        yield from _left_out(found.left_out, page)

    def _heading(self) -> str:
        found = self.inspection
        inside = "".join(f" in {name}" for name in reversed(found.envelopes))
        parts = [f"format {', '.join(found.formats)}{inside}"] if found.formats else []
        parts += [f"{len(found.events)} events"] if len(found.events) > 1 else []
        place = where(found.origin, self.of_topic)
        return f"{place}: {', '.join(parts)}" if parts else place


@dataclass(frozen=True)
class _Page:
    """Where lines go: everything on it is safe to print."""

    console: Console
    terminal: TerminalText
    width: int
    with_text: bool

    def wrapped(self, text: str, style: str = "") -> Iterator[Text]:
        """`text` in as many lines as it needs, all with the spaces that it begins with."""
        indent = " " * (len(text) - len(text.lstrip(" ")))
        safe = Text(self.terminal.safe(text.lstrip(" ")), style=style)
        for line in safe.wrap(self.console, max(1, self.width - len(indent)), overflow="fold"):
            line.rstrip()
            yield Text(indent).append_text(line)

    def lengths(self, line: str, text: str) -> Text:
        """`line`, and after it as much of `text` as fits."""
        shown = Text(line)
        room = self.width - shown.cell_len - 2
        if self.with_text and room >= _MIN_TEXT:
            shown.append("  ").append(self.terminal.fit(text[: 4 * self.width], room))
        return shown


def _event(item: InspectedEvent, page: _Page) -> Iterator[Text]:
    event = item.event
    known = [f"event {event.id}"]
    known += [event.time.isoformat()] if event.time else []
    known += [f"model {event.model}"] if event.model else []
    known += [f"{name} {value}" for name, value in event.attributes.items() if isinstance(value, str | int)]
    yield from page.wrapped(f"  {', '.join(known)}")
    names = [page.terminal.fit(_name(segment), page.width // 3) for segment in item.segments]
    name_width = max(map(cell_len, names), default=0)
    for name, segment in zip(names, item.segments, strict=True):
        padding = " " * (name_width - cell_len(name))
        yield page.lengths(f"    {name}{padding}{len(segment.text):>{_CHARS_WIDTH},} chars", segment.text)
    for name in dict.fromkeys(segment.name for segment in item.segments if not segment.read_by):
        yield from page.wrapped(f"    {name}: no feature set reads this segment", "yellow")
    for kind, n in event.unread.items():
        yield from page.wrapped(f"    not read: {n} {kind}: {WHY_UNREAD[kind]}", "yellow")
    for repair, n in event.repaired.items():
        yield from page.wrapped(f"    repaired: {n} {repair}: {WHY_REPAIRED[repair]}", "yellow")
    if not event.response:
        yield Text("    no response", style="yellow")


def _left_out(found: Sequence[LeftOut], page: _Page) -> Iterator[Text]:
    texts = sorted((item for item in found if not item.is_label), key=lambda item: -len(item.text))
    labels = [item for item in found if item.is_label]
    if found:
        yield Text("  left out, in no segment:", style="yellow")
    for item in texts[:_MAX_LEFT_OUT]:
        yield from page.wrapped(f"    {item.path}: {item.why}")
        yield page.lengths(f"      {len(item.text):,} chars", item.text)
    if len(texts) > _MAX_LEFT_OUT:
        yield from page.wrapped(f"    and {len(texts) - _MAX_LEFT_OUT:,} more texts; --json has all")
    if labels:
        some = ", ".join(item.path for item in labels[:_MAX_LABELS]) + (", ..." if len(labels) > _MAX_LABELS else "")
        yield from page.wrapped(f"    short values without spaces, such as ids and names ({len(labels):,}): {some}")


def _name(segment: InspectedSegment) -> str:
    return segment.name if segment.name != "other" else f"other, role {segment.role}"


def where(origin: Origin, of_topic: bool) -> str:
    """A place that a person can go to: partition and offset of a topic, or line or row of a file."""
    if of_topic:
        return f"{origin.topic}-{origin.partition} offset {origin.offset}"
    return f"{origin.topic}:{origin.offset}"
