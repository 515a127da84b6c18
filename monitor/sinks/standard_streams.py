"""StdoutSink and StderrDeadLetters: alerts and bad events of a command that runs in a terminal or a pipe."""

from __future__ import annotations

import sys

from monitor.alerts.alert import Alert
from monitor.errors import BadEvent, Permanent
from monitor.events.event import Record

_MOST_SHOWN = 20


class StdoutSink:
    """Alerts to standard output, one JSON object per line."""

    name = "stdout"

    def add(self, alert: Alert) -> None:
        try:
            sys.stdout.write(alert.to_json() + "\n")
        except BrokenPipeError:
            raise Permanent("standard output was closed") from None

    def flush(self) -> None:
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            raise Permanent("standard output was closed") from None

    def reset(self) -> None:
        pass  # what was written is out

    def close(self) -> None:
        pass  # the interpreter closes it


class StderrDeadLetters:
    """Lists on standard error which records could not be read and why, up to a limit."""

    def __init__(self) -> None:
        self._count = 0

    def add(self, record: Record, error: BadEvent) -> None:
        self._count += 1
        origin = record.origin
        if self._count <= _MOST_SHOWN:
            sys.stderr.write(f"bad event: {origin.topic}:{origin.offset}: {error}\n")
        elif self._count == _MOST_SHOWN + 1:
            sys.stderr.write("bad event: there are more; --bad FILE keeps all of them\n")

    def flush(self) -> None:
        sys.stderr.flush()

    def reset(self) -> None:
        pass  # what was written is out

    def close(self) -> None:
        pass  # the interpreter closes it
