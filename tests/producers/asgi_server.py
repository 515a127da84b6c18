"""An ASGI app behind a real server on loopback."""

from __future__ import annotations

import threading
import time
from typing import Any

import uvicorn

from monitor.sources.http_server import tcp_socket


class AsgiServer:
    """A context manager around uvicorn in a thread."""

    def __init__(self, app: Any) -> None:
        self._socket = tcp_socket("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_config=None,
                log_level="critical",
                access_log=False,
                date_header=False,
                server_header=False,
                timeout_graceful_shutdown=1,
            )
        )
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        self._server.run(sockets=[self._socket])

    def __enter__(self) -> AsgiServer:
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()
