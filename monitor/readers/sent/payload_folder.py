"""PayloadFolder: files that events name, and nothing outside of their folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from monitor.errors import BadEvent
from monitor.readers.sent.tensors import PATH

_LOOK_S = 0.05
_LOCK = ".lock"
"""vLLM's connector holds a lock on a file of this suffix next to the payload until it has written it."""
_FILE_PATH = f"{PATH}.file"


class PayloadFolder:
    """Reads whole files below one folder. Links are not followed, so a name can't lead out of it."""

    def __init__(self, folder: Path, max_bytes: int, wait_s: float) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._wait_s = wait_s

    def read(self, name: str) -> bytes:
        """The bytes of the file `name`: relative, or absolute and below the folder.

        Waits while a writer holds the file's lock. Raises BadEvent if the file can't be read, is too large, or is
        outside of the folder.
        """
        *folders, last = self._parts(name)
        try:
            with self._opened(folders) as folder:
                self._wait_for_writer(folder, last)
                return self._contents(folder, last)
        except OSError as e:
            if e.errno in (errno.ELOOP, errno.ENOTDIR):
                raise BadEvent("leads over a link, which is not followed", _FILE_PATH) from None
            raise BadEvent(f"not readable in activations.folder: {e.strerror}", _FILE_PATH) from None

    def _parts(self, name: str) -> tuple[str, ...]:
        path = PurePosixPath(name)
        if path.is_absolute():
            try:
                path = path.relative_to(PurePosixPath(self._folder.absolute()))
            except ValueError:
                raise BadEvent("is outside of activations.folder", _FILE_PATH) from None
        if not path.parts or ".." in path.parts or "\0" in name:
            raise BadEvent("is not the name of a file below activations.folder", _FILE_PATH)
        return path.parts

    @contextlib.contextmanager
    def _opened(self, folders: list[str]) -> Iterator[int]:
        """The innermost of these folders. Each is opened from the one before, so nobody can swap in a link."""
        at = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for name in folders:
                inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
                os.close(at)
                at = inner
            yield at
        finally:
            os.close(at)

    def _wait_for_writer(self, folder: int, name: str) -> None:
        try:
            lock = os.open(f"{name}{_LOCK}", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        except FileNotFoundError:
            return
        try:
            until = time.monotonic() + self._wait_s
            while not _is_free(lock):
                if time.monotonic() >= until:
                    raise BadEvent(
                        f"still being written after activations.wait_s = {self._wait_s:g}", _FILE_PATH, "unreadable"
                    )
                time.sleep(_LOOK_S)
        finally:
            os.close(lock)

    def _contents(self, folder: int, name: str) -> bytes:
        # a pipe would block, and a device is no file
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        with open(file, "rb") as opened:  # noqa: PTH123 - of a descriptor
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode):
                raise BadEvent("is not a file", _FILE_PATH)
            raw = opened.read(self._max_bytes + 1) if found.st_size <= self._max_bytes else b""
        if found.st_size > self._max_bytes or len(raw) > self._max_bytes:
            size = max(found.st_size, len(raw))
            raise BadEvent(f"{size} bytes, over activations.max_bytes = {self._max_bytes}", _FILE_PATH, "size")
        return raw


def _is_free(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(lock, fcntl.LOCK_UN)
    return True
