"""HttpReceiver: an HTTP endpoint for tests; keeps the requests it gets, and can be slow, broken or somewhere else."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.kafka.serving import serving


@dataclass(frozen=True)
class Request:
    """One request; names of headers are in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes


class HttpReceiver:
    """Listens while in a `with` block. `statuses` are those of the next answers, then it is 200."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.statuses: list[int] = []
        self.headers: dict[str, str] = {}
        self.hang = threading.Event()
        self.hang.set()
        self.requests: list[Request] = []
        self._certificate = certificate
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.hang.wait(30)
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.requests.append(Request(self.path, headers, body))
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 200)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            do_GET = do_POST  # noqa: N815 - what a redirect would turn a POST into

            def log_message(self, *args: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that gave up
        self._stack = ExitStack()

    def __enter__(self) -> HttpReceiver:
        self.url = self._stack.enter_context(serving(self._server, self._certificate))
        return self

    def __exit__(self, *_: object) -> None:
        self.hang.set()
        self._stack.close()
