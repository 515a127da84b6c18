"""HttpConfig: where events are taken over HTTP, and how much of them is held."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from monitor.config.section import Port, Positive, Seconds, Section

CREDENTIAL_HEADERS = ("authorization", "proxy-authorization", "cookie", "x-api-key", "api-key")
"""Headers that no record and no event carries."""

HeaderName = Annotated[str, StringConstraints(pattern=r"^[!#$%&'*+.^_`|~0-9a-z-]+$")]


class HttpConfig(Section):
    """The address of `POST /v1/events`, used if `source.kind` is `http`."""

    host: str = "127.0.0.1"
    """Address to listen on; all but loopback addresses need token_file."""
    port: Port = 9465
    """Port to listen on; 0 picks a free one."""
    socket: Path | None = None
    """Unix socket to listen on instead of host and port; its user and group may connect."""
    token_file: Path | None = None
    """File that holds the bearer token that requests must carry; read at every request, so it can be rotated."""
    max_records: Positive = 1_000
    """Most requests held in memory, from acceptance to delivery; more are answered with 429."""
    max_held_bytes: Positive = 67_108_864
    """Most bytes held in memory, from acceptance to delivery; more are answered with 429."""
    max_connections: Positive = 64
    """Most connections at once; more are closed."""
    read_timeout_s: Seconds = 10.0
    """Longest time for the head of a request to arrive, and then for its body."""
    wait_s: Annotated[float, Field(ge=0, le=300)] = 0.0
    """How long an answer waits for delivery if the request has no `Prefer: wait`; 0: it does not wait."""
    drain_s: Seconds = 20.0
    """After SIGTERM, longest time to deliver what has been accepted."""
    record_headers: tuple[HeaderName, ...] = ("traceparent", "x-request-id")
    """Request headers, in lower case, that are kept with the record; those of CloudEvents always are."""
    bad_events_path: Path | None = None
    """File for accepted records that the reader could not read; if omitted, they are only counted."""

    @model_validator(mode="after")
    def _safe(self) -> HttpConfig:
        if self.socket is None and self.token_file is None and not is_loopback(self.host):
            raise ValueError(
                f"host {self.host} can be reached from other machines: set token_file, or listen on 127.0.0.1"
            )
        for name in self.record_headers:
            if name in CREDENTIAL_HEADERS:
                raise ValueError(f"record_headers: {name} holds credentials, which are never kept")
        return self

    @property
    def address(self) -> str:
        """Where it listens, for messages."""
        if self.socket is not None:
            return f"unix:{self.socket}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server on `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
