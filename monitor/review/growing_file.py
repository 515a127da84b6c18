"""GrowingFile: the lines of a JSONL file of alerts, and those that are appended later."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from monitor.errors import ConfigError

_MAX_LINE_BYTES = 16_000_000
_LINES = 200


class GrowingFile:
    """Reads from the start; alerts that are stored already are only counted as repeated.

    A file that became shorter was replaced, and is read from its start again.
    """

    def __init__(self, path: Path) -> None:
        """Raises ConfigError if the file cannot be read."""
        self._path = path
        self._next = self._read_to = 0
        try:
            path.open("rb").close()
        except OSError as e:
            raise ConfigError(f"--alerts: {path}: {e.strerror}") from None

    def poll(self) -> Sequence[bytes]:
        """Whole lines that were not handed out before; none at the end of the file. Raises OSError."""
        lines: list[bytes] = []
        with self._path.open("rb") as file:
            if file.seek(0, 2) < self._next:
                self._next = 0
            self._read_to = file.seek(self._next)
            while len(lines) < _LINES and (line := file.readline(_MAX_LINE_BYTES)):
                if not line.endswith(b"\n") and len(line) < _MAX_LINE_BYTES:
                    break  # it is being written
                self._read_to += len(line)
                lines.append(line)
        return [line for line in lines if line.strip()]

    def commit(self) -> None:
        """The lines of the last poll were stored."""
        self._next = self._read_to

    def close(self) -> None:
        """Nothing is held open."""
