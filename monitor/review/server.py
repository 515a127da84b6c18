"""serve: runs the web page until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import threading
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from monitor.errors import ConfigError
from monitor.sources.http_server import BoundedProtocol, quiet_config, serve_until, tcp_socket

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
    protocol = partial(BoundedProtocol, limits=_Limits(), on_too_many=lambda: None)
    config = quiet_config(
        app,
        http=cast("type[asyncio.Protocol]", protocol),
        lifespan="off",
        timeout_graceful_shutdown=_FINISH_S,
    )
    serve_until(stop, config, listening)
