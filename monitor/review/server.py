"""serve: runs the web page until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import uvicorn

from monitor.errors import ConfigError
from monitor.sources.http_server import BoundedProtocol, quiet_config, tcp_socket

log = logging.getLogger(__name__)

_FINISH_S = 5


@dataclass(frozen=True)
class _Limits:
    max_connections: int = 200
    read_timeout_s: float = 10.0


def serve(app: Any, host: str, port: int, stop: threading.Event) -> None:
    """Returns after `stop` was set and requests under way were answered. Raises ConfigError if the port is taken."""
    try:
        listening = tcp_socket(host, port)
    except OSError as e:
        raise ConfigError(f"--host, --port: cannot listen on {host}:{port}: {e.strerror}") from None
    shown = f"[{host}]" if ":" in host else host
    log.info("review page on http://%s:%d", shown, listening.getsockname()[1])
    asyncio.run(_serve(app, listening, stop))


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # the command handles them


async def _serve(app: Any, listening: Any, stop: threading.Event) -> None:
    protocol = partial(BoundedProtocol, limits=_Limits(), on_too_many=lambda: None)
    config = quiet_config(
        app,
        http=cast("type[asyncio.Protocol]", protocol),
        lifespan="off",
        timeout_graceful_shutdown=_FINISH_S,
    )
    server = _Server(config)
    stopping = asyncio.ensure_future(_stop(server, stop))
    try:
        await server.serve(sockets=[listening])
    finally:
        stopping.cancel()


async def _stop(server: uvicorn.Server, stop: threading.Event) -> None:
    while not stop.is_set():
        await asyncio.sleep(0.1)
    server.should_exit = True
