"""TerminalText: how one terminal shows severities and shaded text, with colour or without."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions
from rich.text import Text

from detectors.feature_set import Severity
from monitor.alerts.alert import Alert
from monitor.report.shading import LIGHT, Run, shaded, strongest_window, whole_words
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
"""Without colour, tokens of at least this strength stand in brackets."""

_SPACES = re.compile(" {2,}")


@dataclass(frozen=True)
class TerminalText:
    """What a terminal can show."""

    coloured: bool
    encoding: str

    @classmethod
    def of(cls, console: Console, options: ConsoleOptions) -> TerminalText:
        """The abilities of `console`."""
        return cls(console.color_system is not None and not console.no_color, options.encoding)

    def safe(self, text: str) -> str:
        """`text` on one line, without anything that steers a terminal or that its encoding cannot write."""
        line = _SPACES.sub(" ", visible_line(text))
        return line.encode(self.encoding, "replace").decode(self.encoding)

    def fit(self, text: str, width: int) -> str:
        """`text`, safe to print and cut to `width` columns."""
        line = self.safe(text)
        if cell_len(line) <= width:
            return line
        room = width - len(self.dots)
        return set_cell_size(line, room) + self.dots if room > 0 else set_cell_size(line, max(0, width))

    def severity(self, severity: Severity) -> Text:
        """The severity as a word on its colour."""
        return Text(severity.upper(), style=SEVERITY_STYLES[severity])

    def strongest_text(self, alert: Alert, width: int) -> Text:
        """The text of the alert around its strongest tokens, shaded, in at most `width` columns."""
        if alert.content is None:
            segment = alert.segment
            return Text(self.fit(f"no text kept: {segment.name}, {segment.tokens} tokens", width), style="dim italic")
        runs = shaded(alert.content.text, alert.content.strengths)
        chars = width
        while chars > 0:
            line = self._window(runs, chars)
            over = line.cell_len - width
            if over <= 0:
                return line
            chars -= max(1, over // 2)
        return Text()

    @property
    def dots(self) -> str:
        """What stands for text that is not shown."""
        return "…" if self.safe("…") == "…" else "..."

    def _window(self, runs: Sequence[Run], chars: int) -> Text:
        window = whole_words(strongest_window(runs, chars))
        line = Text(self.dots if window.cut_before else "")
        for text, style in self._pieces(window.runs):
            line.append(text, style=style)
        return line.append(self.dots if window.cut_after else "")

    def _pieces(self, runs: Sequence[Run]) -> Iterator[tuple[str, str]]:
        if self.coloured:
            for run in runs:
                background, text = LIGHT[run.level - 1] if run.level else ("", "")
                yield self.safe(run.text), f"{text} on {background}" if run.level else ""
            return
        inside = False
        for run in runs:
            text = self.safe(run.text)
            word = text.lstrip()
            space = text[: len(text) - len(word)]  # tokens begin with their space, which reads badly in brackets
            if (run.strength >= BRACKETED_FROM) != inside:
                inside = not inside
                yield f"{space}[{word}" if inside else f"]{text}", ""
            else:
                yield text, ""
        if inside:
            yield "]", ""
