"""Progress is shown on a terminal and in a file."""

from __future__ import annotations

import io

from rich.console import Console

from monitor.demo.progress import ProgressLine

EVERY_S = 10.0


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def printed(steps: list[tuple[float, str, str]], *, terminal: bool = False) -> str:
    """What is printed if `update` is called with each (seconds since the start, message, detail)."""
    out, clock = io.StringIO(), Clock()
    console = Console(file=out, width=40, force_terminal=terminal, color_system=None, _environ={"TERM": "xterm"})
    with ProgressLine(console, EVERY_S, clock) as progress:
        for seconds, message, detail in steps:
            clock.now = 100 + seconds
            progress.update(message, detail)
    return out.getvalue()


def test_a_file_gets_a_line_for_each_message_and_one_after_a_while() -> None:
    steps = [(0.0, "loading", ""), (0.2, "loading", ""), (3.0, "compiling", ""), (4.0, "compiling", "")]
    shown = printed([*steps, (3 + EVERY_S, "compiling", ""), (4 + EVERY_S, "compiling", "")])
    assert shown.splitlines() == ["  0 s  loading", "  3 s  compiling", " 13 s  compiling"]


def test_a_new_detail_waits_for_the_next_line() -> None:
    shown = printed([(0, "events read", "0 of 9"), (1, "events read", "4 of 9"), (EVERY_S, "events read", "8 of 9")])
    assert shown.splitlines() == ["  0 s  events read: 0 of 9", " 10 s  events read: 8 of 9"]


def test_a_file_gets_no_control_characters_and_no_line_that_is_too_wide() -> None:
    shown = printed([(0, "compiling " * 9, "")])
    assert not [c for c in shown if ord(c) < 32 and c != "\n"]
    assert [len(line) for line in shown.splitlines()] == [40]


def test_a_terminal_gets_one_line_that_is_gone_at_the_end() -> None:
    shown = printed([(0, "loading", ""), (5, "compiling", ""), (60, "compiling", "")], terminal=True)
    assert "compiling" in shown
    assert shown.count("\n") <= 1
    assert shown.endswith("\x1b[2K")
