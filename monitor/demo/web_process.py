"""WebProcess: a child process that answers HTTP on a loopback port."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from monitor.demo.child_process import ChildProcess
from monitor.errors import Permanent

_HOST = "127.0.0.1"


class WebProcess(ChildProcess):
    """Ready when `ready_path` answers 200."""

    def __init__(
        self,
        called: str,
        command: Sequence[str],
        log: Path,
        port: int,
        ready_path: str,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(called, command, log, environment)
        self._port = port
        self._ready_path = ready_path

    @property
    def url(self) -> str:
        """Where its pages are."""
        return f"http://{self.address}"

    @property
    def address(self) -> str:
        """host:port."""
        return f"{_HOST}:{self._port}"

    def wait_ready(self, timeout_s: float, tick: Callable[[], None] = lambda: None) -> None:
        """Returns once it is ready. Raises Permanent if the child ends first or takes longer."""
        give_up_at = time.monotonic() + timeout_s
        while self._get(self._ready_path)[0] != http.HTTPStatus.OK:
            self.check_alive()
            if time.monotonic() > give_up_at:
                raise Permanent(f"{self._called} was not ready within {timeout_s:.0f} s")
            tick()
            time.sleep(0.2)

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
