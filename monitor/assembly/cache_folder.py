"""CacheFolder: folders that processes share: made by one at a time, and removed only if no process uses them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

KEPT = 3
"""How many of the folders that were used last stay when another one is made."""
# After this time, what a killed process left behind counts as abandoned if the file system has no locks to ask
_ABANDONED_S = 3600.0


class Lease:
    """A shared lock on a folder, held until this object is gone or the process ends."""

    def __init__(self, handle: int) -> None:
        self._handle: int | None = handle

    def close(self) -> None:
        """Ends it now."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def __del__(self) -> None:
        self.close()


@dataclass(frozen=True)
class CacheEntry:
    """One folder in the cache."""

    folder: Path
    bytes: int
    used_at: float
    """Seconds since 1970 when a process last began to use it."""
    in_use: bool


@dataclass(frozen=True)
class CacheFolder:
    """The folders in `path`. All locks are advisory (flock on the folders themselves) and end with the process."""

    path: Path

    def lease(self, folder: Path) -> Lease | None:
        """Keeps `folder` from being removed; None if it is not there. Works on a read-only file system, too."""
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return None
        lease = Lease(handle)
        with contextlib.suppress(OSError):  # without locks, nothing better can be done
            fcntl.flock(handle, fcntl.LOCK_SH)
        try:
            if not os.path.samestat(os.fstat(handle), folder.stat()):
                return None  # removed before the lock was there
        except OSError:
            return None
        with contextlib.suppress(OSError):  # of another user, or read-only
            os.utime(folder)
        return lease

    @contextlib.contextmanager
    def writing(self, waiting: Callable[[], None]) -> Iterator[None]:
        """Waits until no other process makes a folder here, and sweeps what killed ones left. Raises OSError.

        Calls `waiting` if another process has to end first.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        if not os.access(self.path, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
            raise PermissionError(errno.EACCES, "cannot be written")
        handle = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            locked = self._lock(handle, waiting)
            self._sweep(0.0 if locked else _ABANDONED_S)
            yield
        finally:
            os.close(handle)

    def remove(self, folder: Path) -> bool:
        """Removes `folder`; False if a process uses it or it cannot be removed."""
        if not folder.exists():
            return True
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return False
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError:
                pass  # no locks here: whoever has its files open keeps them
            gone = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")
            try:
                folder.rename(gone)
            except OSError:
                return False
            shutil.rmtree(gone, ignore_errors=True)
            return True
        finally:
            os.close(handle)

    def evict(self, keep: Path) -> None:
        """Removes all but `keep` and the KEPT - 1 others that were used last, except those in use."""
        others = [entry for entry in self.entries() if entry.folder != keep]
        for entry in others[KEPT - 1 :]:
            self.remove(entry.folder)

    def entries(self) -> list[CacheEntry]:
        """The folders, the one used last first."""
        if not self.path.is_dir():
            return []
        found = []
        for folder in self.path.iterdir():
            if folder.is_dir() and not folder.name.startswith("."):
                size = sum(f.lstat().st_size for f in folder.rglob("*") if f.is_file())
                found.append(CacheEntry(folder, size, folder.stat().st_mtime, self._is_used(folder)))
        return sorted(found, key=lambda entry: -entry.used_at)

    def _is_used(self, folder: Path) -> bool:
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            os.close(handle)
        return False

    def _lock(self, handle: int, waiting: Callable[[], None]) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            return False
        return True

    def _sweep(self, age_s: float) -> None:
        for left in self.path.glob(".*"):
            with contextlib.suppress(OSError):
                if left.is_dir() and time.time() - left.stat().st_mtime >= age_s:
                    shutil.rmtree(left, ignore_errors=True)
