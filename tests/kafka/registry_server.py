"""A schema registry for tests: it speaks the two requests that are sent, over HTTP or HTTPS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.kafka.serving import serving

_JSON = "application/vnd.schemaregistry.v1+json"
UNKNOWN = {"error_code": 40403, "message": "Schema not found"}


class Registry:
    """`schemas` by path, such as schemas/ids/7; `asked` are the paths and credentials of all requests.

    If `answer` is set, every request gets that status and body.
    """

    def __init__(self) -> None:
        self.url = ""
        self.schemas: dict[str, dict[str, Any]] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.answer: tuple[int, bytes] | None = None

    def add(self, schema_id: int, schema: Any, **more: Any) -> None:
        """Registers a schema."""
        self.schemas[f"schemas/ids/{schema_id}"] = {"schema": json.dumps(schema), **more}

    def answer_to(self, path: str) -> tuple[int, bytes]:
        """Status and body."""
        if self.answer is not None:
            return self.answer
        found = self.schemas.get(path)
        return (404, json.dumps(UNKNOWN).encode()) if found is None else (200, json.dumps(found).encode())


@contextmanager
def schema_registry(certificate: Path | None = None) -> Iterator[Registry]:
    """Serves until left."""
    state = Registry()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # an answer in one packet

        def do_GET(self) -> None:
            path = self.path.strip("/")
            state.asked.append((path, self.headers["Authorization"]))
            status, body = state.answer_to(path)
            self.send_response(status)
            self.send_header("Content-Type", _JSON)
            self.send_header("Content-Length", str(len(body)))
            if status in (301, 302):
                self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    with serving(server, certificate) as url:
        state.url = url
        yield state
