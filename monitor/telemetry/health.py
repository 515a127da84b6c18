"""Health: whether the loop is alive and the process ready, and the port that answers health checks and scrapes."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from monitor.config.sections import HealthConfig
from monitor.errors import ConfigError

_CONNECTION_S = 5.0
_MAX_CONNECTIONS = 32
_COMPONENTS = ("consumer",)


class Health:
    """What the health checks ask for. Thread-safe."""

    def __init__(
        self,
        stalled_after_s: float,
        components: tuple[str, ...] = _COMPONENTS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Every one of `components` must report before the process is ready; others that report count as well."""
        self._stalled_after_s = stalled_after_s
        self._clock = clock
        self._lock = threading.Lock()
        self._last_progress = clock()
        self._loading: str | None = None
        self._components: dict[str, tuple[bool, str]] = dict.fromkeys(components, (False, "has not reported yet"))
        self._warnings: dict[str, str] = {}

    def loading(self, what: str) -> None:
        """Start-up is at the step `what`. `what` is shown, so it must hold no text of events.

        Until `loaded`, the process counts as alive however long a step takes: a restart would only begin it again.
        """
        with self._lock:
            self._loading = what

    def loaded(self) -> None:
        """Start-up is over. From here on only `progress` keeps the process alive."""
        with self._lock:
            self._loading = None
            self._last_progress = self._clock()

    def progress(self) -> None:
        """The loop finished a round, or a long step of it made progress."""
        with self._lock:
            self._last_progress = self._clock()

    def set_ready(self, component: str, ok: bool, reason: str = "") -> None:
        """A component became ready or is not ready any more. `reason` is shown, so it must hold no text of events."""
        with self._lock:
            self._components[component] = (ok, reason)

    def set_warning(self, component: str, reason: str = "") -> None:
        """What does not work although the process does its job; without a reason, it works again.

        `reason` is shown, so it must hold no text of events.
        """
        with self._lock:
            self._warnings[component] = reason

    def live(self) -> list[str]:
        """Why the process should be restarted; empty if it should not."""
        with self._lock:
            if self._loading is not None:
                return []
            idle_s = self._clock() - self._last_progress
        return [] if idle_s <= self._stalled_after_s else [f"no progress for {idle_s:.0f} s"]

    def ready(self) -> list[str]:
        """Why the process does no useful work; empty if it does."""
        with self._lock:
            if self._loading is not None:
                return [f"loading ({self._loading})"]
            return [f"{name}: {reason or 'not ready'}" for name, (ok, reason) in self._components.items() if not ok]

    def warnings(self) -> list[str]:
        """What does not work although the process does its job."""
        with self._lock:
            return [f"{name}: {reason}" for name, reason in self._warnings.items() if reason]


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "latentwatch"
    sys_version = ""
    protocol_version = "HTTP/1.0"  # one request a connection: idle clients hold none
    timeout = _CONNECTION_S

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/livez":
            self._answer(self.server.health.live())
        elif path == "/readyz":
            self._answer(self.server.health.ready(), self.server.health.warnings())
        elif path == "/metrics":
            self._metrics()
        else:
            self._json(HTTPStatus.NOT_FOUND, {"status": "not found", "paths": ["/livez", "/readyz", "/metrics"]})

    do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

    def _answer(self, reasons: list[str], warnings: Sequence[str] = ()) -> None:
        status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
        body = {"status": "failing" if reasons else "ok", "reasons": reasons}
        self._json(status, body | ({"warnings": list(warnings)} if warnings else {}))

    def _metrics(self) -> None:
        try:
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            with self.server.scrape_lock:  # the SDK's Prometheus collector mixes up concurrent scrapes
                body = encode(self.server.registry)
        except Exception as e:  # noqa: BLE001 - the scraper gets an answer, whatever fails
            self._json(HTTPStatus.INTERNAL_SERVER_ERROR, {"status": "failing", "reasons": [type(e).__name__]})
            return
        self._reply(HTTPStatus.OK, content_type, body)

    def _json(self, status: HTTPStatus, body: dict[str, Any]) -> None:
        self._reply(status, "application/json", json.dumps(body).encode() + b"\n")

    def _reply(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Health checks are not logged."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], health: Health, registry: CollectorRegistry) -> None:
        self.health = health
        self.registry = registry
        self.scrape_lock = threading.Lock()
        self._connections = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer's own looks up the host's name, which may take long

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._connections.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread was started that would release it
            self._connections.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        # the handler's timeout is for each read; this one also limits a client that sends byte by byte
        limit = threading.Timer(_CONNECTION_S, _cut, (request,))
        limit.daemon = True
        limit.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            limit.cancel()
            self._connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is not an error."""


def _cut(request: socket.socket) -> None:
    try:
        request.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # closed already


class HealthServer:
    """Serves /livez, /readyz and /metrics to GET and HEAD. The port is open once the constructor returns."""

    def __init__(self, config: HealthConfig, health: Health, registry: CollectorRegistry) -> None:
        """Raises ConfigError naming health.port or health.host."""
        self._server = _bound(config, health, registry)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(_CONNECTION_S)

    def __enter__(self) -> HealthServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_port(config: HealthConfig) -> int:
    """Listens on the health port and closes it again. Returns the port. Raises ConfigError as HealthServer does."""
    with _bound(config, Health(config.stalled_after_s), CollectorRegistry()) as server:
        return int(server.server_address[1])


def _bound(config: HealthConfig, health: Health, registry: CollectorRegistry) -> _Server:
    try:
        return _Server((config.host, config.port), health, registry)
    except socket.gaierror as e:
        raise ConfigError(f"health.host: {config.host}: {e.strerror}; use an address of this machine") from None
    except OSError as e:
        raise ConfigError(
            f"health.port: cannot listen on {config.host}:{config.port}: {e.strerror}; "
            "choose another port or host, or stop what uses it"
        ) from None
