"""A token endpoint over HTTPS for tests, and the unsigned tokens that a test broker accepts."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from tests.kafka.serving import serving


def unsecured_token(user: str, life_s: float = 600) -> str:
    """A JWS without signature (RFC 7515, appendix A.5)."""
    now = time.time()
    parts = ({"alg": "none"}, {"sub": user, "iat": now, "exp": now + life_s})
    return ".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts) + "."


class TokenServer:
    """What it was asked and what it answers: (status, body)."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[tuple[str, str]] = []
        self.answer: tuple[int, object] = (200, {})


@contextmanager
def token_server(certificate: Path) -> Iterator[TokenServer]:
    """Serves until left."""
    state = TokenServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            state.asked.append((self.headers["Authorization"], body))
            answer = json.dumps(state.answer[1]).encode()
            self.send_response(state.answer[0])
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args: object) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    with serving(server, certificate) as url:
        state.url = f"{url}/token"
        yield state
