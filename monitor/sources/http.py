"""HttpSource: events that callers send with `POST /v1/events`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from monitor.config.http import HttpConfig
from monitor.config.sections import SourceConfig
from monitor.errors import BadEvent, ConfigError, Permanent
from monitor.events.event import Origin, Record
from monitor.events.position import Position
from monitor.sources.inbox import Inbox

if TYPE_CHECKING:
    from monitor.sources.http_app import Check, IntakeMetrics

_log = logging.getLogger(__name__)

_MAX_BLOCK_S = 1.0


class HttpSource:
    """A Source. What it hands out was held in memory only: a process that dies loses what is not delivered yet.

    After `drain` it takes nothing more, hands out what it holds, and is then exhausted.
    """

    def __init__(
        self, http: HttpConfig, source: SourceConfig, max_bytes: int, check: Check, metrics: IntakeMetrics
    ) -> None:
        """Listens at once. `check` is the parser, so that callers hear of bad events. Raises ConfigError."""
        try:
            from monitor.sources.http_app import intake_app
            from monitor.sources.http_server import HttpServer
        except ImportError:
            raise ConfigError(_NEEDS) from None
        self._source = source
        self._inbox = Inbox(http.max_records, http.max_held_bytes)
        app = intake_app(http, max_bytes, check, self._inbox, metrics)
        self._server = HttpServer(http, app, lambda: metrics.intake_refused("connections"))
        self.port = self._server.port
        self._handed_out = 0

    @property
    def exhausted(self) -> bool:
        """See Source."""
        return self._inbox.closed and not self._inbox.waiting

    @property
    def unready(self) -> str:
        """See Source."""
        if self._inbox.closed:
            return "stopping"
        return "" if self._server.alive else "the HTTP server has stopped"

    def poll(self) -> Sequence[Record]:
        """See Source."""
        if not self._server.alive:
            raise Permanent("the HTTP server has stopped: see the log")
        source = self._source
        timeout_s = min(source.poll_timeout_ms / 1000, _MAX_BLOCK_S)
        found = self._inbox.take(source.max_poll_records, timeout_s, source.max_wait_ms / 1000)
        self._handed_out += len(found)
        return found

    def keep_alive(self) -> None:
        """See Source. Callers don't go away."""

    def commit(self) -> None:
        """See Source. Answers the callers that wait."""
        self._inbox.settle()

    def positions(self) -> Sequence[Position]:
        """See Source. One partition, whose offsets count requests."""
        done, waiting = self._handed_out, self._inbox.waiting
        return (Position("http", 0, done, done + waiting),)

    def held(self) -> tuple[int, int]:
        """Records and bytes that are accepted and not delivered yet."""
        return self._inbox.held()

    def refuse(self, origin: Origin, error: BadEvent) -> None:
        """Tells the caller, if it still waits, that a record can't be read after all."""
        self._inbox.refuse(origin, error)

    def drain(self) -> None:
        """Takes nothing more: callers get 503."""
        self._inbox.close()

    def close(self) -> None:
        """See Source. What is still held is lost, and the log says how much that is."""
        lost = self._inbox.abandon()
        if lost:
            _log.warning("%d requests were accepted and not delivered; they are lost", lost)
        self._server.close()


_NEEDS = "source.kind: http needs: pip install 'latentwatch[http]'"


def check_address(http: HttpConfig) -> None:
    """Listens on the address and closes it again. Raises ConfigError as HttpSource does."""
    try:
        from monitor.sources.http_server import listening
    except ImportError:
        raise ConfigError(_NEEDS) from None
    if http.token_file is not None:
        try:
            empty = not http.token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as e:
            reason = e.strerror if isinstance(e, OSError) else "not UTF-8"
            raise ConfigError(f"http.token_file: {http.token_file}: {reason}") from None
        if empty:
            raise ConfigError(f"http.token_file: {http.token_file}: the file is empty")
    with listening(http):
        pass
    if http.socket is not None:
        http.socket.unlink(missing_ok=True)
