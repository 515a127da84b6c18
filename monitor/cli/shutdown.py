"""Signals: they stop the loop after the current batch or ask for a reload; and everything that was opened is closed."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

log = logging.getLogger("monitor")


def stop_on_signals() -> threading.Event:
    """An event that the first SIGTERM or SIGINT sets. The second ends the process at once."""
    stop = threading.Event()

    def announce(name: str) -> None:
        log.info("%s: finishing the current batch; a second signal ends the process at once", name)
        stop.set()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        # In a thread: this handler may interrupt code that holds the lock of the event or writes to the log.
        threading.Thread(target=announce, args=(signal.Signals(number).name,), daemon=True).start()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    return stop


def reload_on_signal() -> threading.Event:
    """An event that SIGHUP sets."""
    asked = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        threading.Thread(target=asked.set, daemon=True).start()  # in a thread, as above

    signal.signal(signal.SIGHUP, on_signal)
    return asked


@contextmanager
def closing_all() -> Iterator[list[Callable[[], None]]]:
    """Calls every function of the list at the end, the last one first, even if one of them fails."""
    opened: list[Callable[[], None]] = []
    try:
        yield opened
    finally:
        for close in reversed(opened):
            try:
                close()
            except Exception:
                log.exception("while closing")
