"""A caller of the HTTP intake, on plain sockets."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Answer:
    """Status, headers in lower case, and the decoded body."""

    status: int
    headers: Mapping[str, str]
    body: Any


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(self._path))


def ask(
    connection: http.client.HTTPConnection,
    body: bytes | str = b"",
    method: str = "POST",
    path: str = "/v1/events",
    headers: Mapping[str, str] = JSON,
) -> Answer:
    """One request; the connection stays open if the server lets it."""
    connection.request(method, path, body, dict(headers))
    answer = connection.getresponse()
    raw = answer.read()
    return Answer(
        answer.status,
        {name.lower(): value for name, value in answer.getheaders()},
        json.loads(raw) if raw else None,
    )
