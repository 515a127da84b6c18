"""The command `latentwatch proxy`: in front of a model server, publishes what passes through."""

from __future__ import annotations

import logging
import socket
from typing import Annotated

import typer

from monitor.cli.options import ConfigOption
from monitor.cli.shutdown import stop_on_signals
from monitor.cli.wiring import load_settings, make_publisher
from monitor.errors import ConfigError

log = logging.getLogger("monitor")

_KEEP_ALIVE_S = 75
_FINISH_S = 20


def proxy(
    upstream: Annotated[str, typer.Argument(help="URL of the server, such as http://127.0.0.1:8000.")],
    config: ConfigOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on; 0 picks a free one.")] = 8_001,
    tenant_header: Annotated[
        str | None, typer.Option(help="Request header that names the tenant; becomes an attribute.", show_default=False)
    ] = None,
) -> None:
    """Pass requests on to a model server, and publish them with their responses for the sidecar of the same config."""
    settings = load_settings(config)
    from monitor.telemetry.log import configure_logging

    configure_logging(settings.log)
    try:
        from monitor.producers.forward import Forward
    except ImportError:
        raise ConfigError("latentwatch proxy needs: pip install 'latentwatch[http]'") from None
    from monitor.producers.headers import HeaderNames
    from monitor.producers.middleware import CaptureMiddleware, CaptureOptions
    from monitor.sources.http_server import quiet_config, serve_until

    forward = Forward(upstream)
    options = CaptureOptions(headers=HeaderNames(tenant_header), max_bytes=settings.events.max_bytes)
    publisher, where = make_publisher(settings)
    app = CaptureMiddleware(forward, publisher, options)
    listening = _listening(host, port)
    log.info("passing requests on from %s:%d; events go to %s", host, listening.getsockname()[1], where)
    server = quiet_config(
        app,
        http="h11",
        lifespan="on",
        date_header=False,  # the upstream's own goes through
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_FINISH_S,
    )
    stop = stop_on_signals("requests under way")
    try:
        serve_until(stop, server, listening)
    finally:
        publisher.close()
        counts = publisher.counts()
        log.info("stopped: %d events published, %d not", counts.published, counts.dropped)


def _listening(host: str, port: int) -> socket.socket:
    from monitor.sources.http_server import tcp_socket

    try:
        return tcp_socket(host, port)
    except OSError as e:
        raise ConfigError(f"--host, --port: cannot listen on {host}:{port}: {e.strerror}") from None
