"""Signals: they stop the loop after the current batch or ask for a reload; and everything that was opened is closed."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

log = logging.getLogger("monitor")


def stop_on_signals(finishing: str = "the current batch") -> threading.Event:
    """An event that the first SIGTERM or SIGINT sets. The second ends the process at once.

    `finishing` is what the process still does after the first, for the log.
    """
    stop = threading.Event()

    def announce(name: str) -> None:
        log.info("%s: finishing %s; a second signal ends the process at once", name, finishing)
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


def stop_after_draining(stop: threading.Event, drain: Callable[[], None], grace_s: float) -> threading.Event:
    """An event that is set `grace_s` seconds after `stop`; `drain` is called when `stop` is set."""
    halt = threading.Event()

    def wait() -> None:
        stop.wait()
        log.info("delivering what has been accepted, for %g s at most", grace_s)
        drain()
        threading.Event().wait(grace_s)
        halt.set()

    threading.Thread(target=wait, name="drain", daemon=True).start()
    return halt


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
