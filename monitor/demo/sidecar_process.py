"""SidecarProcess: `latentwatch run` as a child process."""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

from prometheus_client.parser import text_string_to_metric_families

from monitor.config.sections import ENV_PREFIX
from monitor.errors import Permanent

_HOST = "127.0.0.1"
_OWN_SECTIONS = ("KAFKA", "SOURCE", "HTTP", "EVENTS", "ALERTS", "SINKS", "HEALTH")
_GRACE_S = 10.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class SidecarProcess:
    """A context manager around one child process, which never outlives the block.

    Enter it on a thread that outlives it: the kernel ends the child with that thread, so none is left running if this
    process is killed.

    The child reads `config`, serves its health endpoints on `port`, and writes its output to `log`. Of the overrides
    in the environment it only gets those for the reader, the feature sets and the log: an override that is meant for
    a deployment must not send the child to that deployment's brokers.
    """

    def __init__(self, config: Path, port: int, log: Path, command: Sequence[str] = ()) -> None:
        self._command = [*(command or (sys.executable, "-m", "monitor", "run", "-c")), str(config)]
        self._port = port
        self._log_path = log
        self._log: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> SidecarProcess:
        dropped = tuple(f"{ENV_PREFIX}{section}__" for section in _OWN_SECTIONS)
        self._log = self._log_path.open("wb")
        libc = ctypes.CDLL(None)

        def end_with_parent() -> None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

        self._process = subprocess.Popen(  # noqa: S603 - a command of this package
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={k: v for k, v in os.environ.items() if not k.upper().startswith(dropped)},
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

    def unready(self) -> list[str] | None:
        """The reasons that /readyz gives; empty if it is ready, None if it does not answer."""
        status, body = self._get("/readyz")
        if status == 0:
            return None
        return [] if status == http.HTTPStatus.OK else [str(reason) for reason in json.loads(body)["reasons"]]

    def wait_ready(self, timeout_s: float, tick: Callable[[], None] = lambda: None) -> None:
        """Returns once /readyz answers 200. Raises Permanent if the child ends first or takes longer."""
        give_up_at = time.monotonic() + timeout_s
        while self._get("/readyz")[0] != http.HTTPStatus.OK:
            self.check_alive()
            if time.monotonic() > give_up_at:
                raise Permanent(f"the sidecar was not ready within {timeout_s:.0f} s")
            tick()
            time.sleep(0.2)

    def check_alive(self) -> None:
        """Raises Permanent if the child has ended by itself."""
        code = self.exit_code
        if code is not None:
            raise Permanent(f"the sidecar exited by itself with code {code}")

    def metric(self, sample: str) -> float | None:
        """The sum of a metric's samples over all labels, from /metrics; None if there is no such sample."""
        status, body = self._get("/metrics")
        if status != 200:
            return None
        families = text_string_to_metric_families(body.decode(errors="replace"))
        values = [s.value for family in families for s in family.samples if s.name == sample]
        return sum(values) if values else None

    def stop(self, timeout_s: float) -> int:
        """Sends SIGTERM and returns the exit code. Raises Permanent if the child does not exit in time."""
        process = self._running()
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise Permanent(f"the sidecar did not exit within {timeout_s:.0f} s of SIGTERM") from None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("enter the context first")
        return self._process

    def _get(self, path: str) -> tuple[int, bytes]:
        """Status and body; (0, b"") while nothing answers."""
        connection = http.client.HTTPConnection(_HOST, self._port, timeout=5)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()
