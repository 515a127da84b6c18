"""ChildProcess: another program, which ends with the block that it was started in."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from monitor.errors import Permanent

_GRACE_S = 10.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class ChildProcess:
    """A context manager around one child process, which never outlives the block. Its output goes to the file `log`.

    Enter it on a thread that outlives it: the kernel ends the child with that thread, so none is left running if this
    process is killed. `called` is its name in messages. `environment` replaces this process's, which it gets otherwise.
    """

    def __init__(
        self, called: str, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._called = called
        self._command = command
        self._log_path = log
        self._environment = environment
        self._log: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._log = self._log_path.open("wb")
        libc = ctypes.CDLL(None)

        def end_with_parent() -> None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

        self._process = subprocess.Popen(  # noqa: S603 - a command of this package
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=None if self._environment is None else dict(self._environment),
            preexec_fn=end_with_parent,
            start_new_session=True,  # Ctrl-C reaches only the parent, which then stops the child properly
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_GRACE_S)
            finally:
                # even if a second Ctrl-C cuts the wait short
                process.kill()
                process.wait()
        if self._log is not None:
            self._log.close()

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._running().poll()

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._running().pid

    def check_alive(self) -> None:
        """Raises Permanent if the child has ended by itself."""
        code = self.exit_code
        if code is not None:
            raise Permanent(f"{self._called} exited by itself with code {code}")

    def stop(self, timeout_s: float) -> int:
        """Sends SIGTERM and returns the exit code. Raises Permanent if the child does not exit in time."""
        process = self._running()
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise Permanent(f"{self._called} did not exit within {timeout_s:.0f} s of SIGTERM") from None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("enter the context first")
        return self._process
