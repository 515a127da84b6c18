"""Served: the review page on a port of the loopback, as the command serves it."""

from __future__ import annotations

import socket
import threading
import time
from types import TracebackType

from sqlalchemy import Engine

from monitor.review.access import Access, OpenAccess
from monitor.review.app import ReviewSettings, review_app
from monitor.review.server import serve
from tests.brokers import free_ports


class Served:
    """Listens from the start of the `with` block to its end."""

    def __init__(self, engine: Engine, access: Access | None = None, settings: ReviewSettings | None = None) -> None:
        (self._port,) = free_ports(1)
        app = review_app(engine, access or OpenAccess(), settings or ReviewSettings())
        self._stop = threading.Event()
        self._thread = threading.Thread(target=serve, args=(app, "127.0.0.1", self._port, self._stop), daemon=True)

    @property
    def address(self) -> str:
        """The URL of the list."""
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Served:
        self._thread.start()
        give_up_at = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
            except OSError:
                if time.monotonic() > give_up_at:
                    raise
                time.sleep(0.02)
            else:
                return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(30)
