"""HttpServer: an ASGI app on a port or a Unix socket, with every connection bounded in number and time."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from monitor.config.http import HttpConfig
from monitor.errors import ConfigError

_BACKLOG = 64
_MAX_HEAD_BYTES = 32_768
_KEEP_ALIVE_S = 75
_SOCKET_MODE = 0o660
_START_S = 10.0
_STOP_S = 3


def quiet_config(app: Any, **own: Any) -> uvicorn.Config:
    """A server that logs no request, believes no header about who calls, and doesn't name itself."""
    return uvicorn.Config(
        app,
        loop="asyncio",
        ws="none",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        **own,
    )


def serve_until(stop: threading.Event, config: uvicorn.Config, listening: socket.socket) -> None:
    """Serves until `stop` is set and requests under way were answered. Signals are left to the command."""
    asyncio.run(_serve_until(stop, _SilentServer(config), listening))


class _SilentServer(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _serve_until(stop: threading.Event, server: uvicorn.Server, listening: socket.socket) -> None:
    async def end() -> None:
        while not stop.is_set():
            await asyncio.sleep(0.1)
        server.should_exit = True

    ending = asyncio.ensure_future(end())
    try:
        await server.serve(sockets=[listening])
    finally:
        ending.cancel()


class HttpServer:
    """Serves `app` in a thread of its own. The port is open once the constructor returns."""

    def __init__(self, config: HttpConfig, app: Any, on_too_many: Callable[[], object] = lambda: None) -> None:
        """`on_too_many` is called for each connection closed over the limit. Raises ConfigError."""
        self._path = config.socket
        self._socket = listening(config)
        self.port: int = 0 if config.socket is not None else self._socket.getsockname()[1]
        protocol = partial(BoundedProtocol, limits=config, on_too_many=on_too_many)
        self._server = uvicorn.Server(
            quiet_config(
                app,
                http=cast("type[asyncio.Protocol]", protocol),
                lifespan="off",
                backlog=_BACKLOG,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=_STOP_S,
                h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
            )
        )
        self._thread = threading.Thread(target=self._run, name="http-intake", daemon=True)
        self._thread.start()
        give_up_at = time.monotonic() + _START_S
        while not self._server.started and self._thread.is_alive() and time.monotonic() < give_up_at:
            time.sleep(0.01)
        if not self._server.started:
            raise ConfigError(f"http: the server on {config.address} did not start")

    @property
    def alive(self) -> bool:
        """Whether it still serves."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Stops listening and, after a moment for answers under way, closes every connection."""
        self._server.should_exit = True
        self._thread.join(_STOP_S + 2)
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _run(self) -> None:
        with self._socket:
            self._server.run(sockets=[self._socket])


class ConnectionLimits(Protocol):
    """What bounds the connections of a server."""

    @property
    def max_connections(self) -> int:
        """Most at once."""

    @property
    def read_timeout_s(self) -> float:
        """Longest wait for a request."""


class BoundedProtocol(H11Protocol):
    """Closes connections over the limit, and those whose next request does not arrive in time."""

    def __init__(self, *args: Any, limits: ConnectionLimits, on_too_many: Callable[[], object], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = limits
        self._on_too_many = on_too_many
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._limits.max_connections:
            self._on_too_many()
            transport.abort()
            return
        self._await_request(self._limits.read_timeout_s)

    def data_received(self, data: bytes) -> None:
        first = self.timeout_keep_alive_task is not None
        super().data_received(data)
        if self._in_work():  # the app limits the time for the body
            self._stop_waiting()
        elif first:  # the head of the next request, or the rest of a body that was refused unread
            self._await_request(self._limits.read_timeout_s)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing() and not self._in_work():
            self._await_request(_KEEP_ALIVE_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _in_work(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _await_request(self, seconds: float) -> None:
        self._stop_waiting()
        self._deadline = self.loop.call_later(seconds, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def listening(config: HttpConfig) -> socket.socket:
    """A bound socket for the address of `config`. Raises ConfigError naming http.port, http.host or http.socket."""
    return _unix(config.socket) if config.socket is not None else _tcp(config)


def tcp_socket(host: str, port: int) -> socket.socket:
    """A listening socket for an asyncio server. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio switches Nagle's algorithm off only if the protocol is named; it holds streamed pieces back for 40 ms
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(_BACKLOG)
    except OSError:
        found.close()
        raise
    return found


def _tcp(config: HttpConfig) -> socket.socket:
    try:
        found = tcp_socket(config.host, config.port)
    except socket.gaierror as e:
        raise ConfigError(f"http.host: {config.host}: {e.strerror}; use an address of this machine") from None
    except OSError as e:
        raise ConfigError(
            f"http.port: cannot listen on {config.address}: {e.strerror}; choose another port, or stop what uses it"
        ) from None
    return found


def _unix(path: Path) -> socket.socket:
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _left_behind(path):
            path.unlink()
        found.bind(str(path))
        path.chmod(_SOCKET_MODE)  # nobody can connect before it listens
    except OSError as e:
        found.close()
        raise ConfigError(f"http.socket: {path}: cannot listen there: {e.strerror or e}") from None
    return found


def _left_behind(path: Path) -> bool:
    """Whether there is a socket of a process that is gone."""
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.stat(path).st_mode):  # noqa: PTH116 - one look for kind and existence
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                return probe.connect_ex(str(path)) != 0
    return False
