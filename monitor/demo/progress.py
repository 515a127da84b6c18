"""ProgressLine: shows what is being done and for how long, on a terminal and in a file."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.status import Status
from rich.text import Text


class ProgressLine:
    """A context manager. On a terminal it keeps one line up to date and removes it at the end.

    Everywhere else it prints plain lines: one for each new message, and one every `every_s` seconds.
    """

    def __init__(self, console: Console, every_s: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._every_s = every_s
        self._clock = clock
        self._started = clock()
        self._status = Status("", console=console) if console.is_terminal and not console.is_dumb_terminal else None
        self._last: tuple[str, float] | None = None

    def __enter__(self) -> ProgressLine:
        self._started = self._clock()
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    @property
    def seconds(self) -> float:
        """Since the block was entered."""
        return self._clock() - self._started

    def update(self, message: str, detail: str = "") -> None:
        """Call this often; it decides what to print. In a file, a new `detail` waits for the next line."""
        now = self._clock()
        text = f"{now - self._started:3.0f} s  {message}{detail and ': '}{detail}"
        line = Text(text, no_wrap=True, overflow="ellipsis")
        if self._status is not None:
            self._status.update(line)
        elif self._last is None or self._last[0] != message or now - self._last[1] >= self._every_s:
            self._last = message, now
            self._console.print(line, no_wrap=True, overflow="ellipsis")
            self._console.file.flush()
