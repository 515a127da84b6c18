"""WatchedFiles: tells when files of the configuration have changed, also if a mounted ConfigMap swaps all at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path

_MAX_FILES = 10_000
FileState = tuple[int, int, int, int]
"""Device, inode, size and time of change of what a path leads to."""


def file_states(paths: Iterable[Path]) -> Mapping[Path, FileState]:
    """The state of each file; a missing one has none.

    States are polled, because a ConfigMap swaps a hidden link, of which watchers of its files hear nothing.
    """
    found: dict[Path, FileState] = {}
    for path in islice(paths, _MAX_FILES):
        try:
            stat = path.stat()
        except OSError:
            continue
        found[path] = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    return found


class WatchedFiles:
    """Compares states, poll by poll. A change counts once it is the same in two polls: the writer has finished."""

    def __init__(self) -> None:
        self._used: Mapping[Path, FileState] | None = None
        self._last: Mapping[Path, FileState] | None = None

    def settled(self, now: Mapping[Path, FileState]) -> bool:
        """Whether `now` differs from what is used, and was the same at the last call."""
        settled = now != self._used and now == self._last
        self._last = now
        return settled

    def used(self, now: Mapping[Path, FileState] | None) -> None:
        """These files were read; None if what was read must be read again."""
        self._used = now
