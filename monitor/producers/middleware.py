"""CaptureMiddleware: publishes what passes through an ASGI app as events, after it was passed on."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from monitor.producers.exchange import Body, Exchange
from monitor.producers.headers import HeaderNames
from monitor.producers.publisher import Publisher

_log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
AsgiMessage = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[AsgiMessage]]
Send = Callable[[AsgiMessage], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class CaptureOptions:
    """What is captured."""

    paths: tuple[str, ...] = ("/chat/completions", "/completions", "/responses", "/messages")
    """Ends of the paths whose POST requests are captured; all others only pass through."""
    headers: HeaderNames = field(default_factory=HeaderNames)
    """Request headers that become attributes."""
    max_bytes: int = 1_048_576
    """Largest request and largest response; larger ones are passed on and not published."""


class CaptureMiddleware:
    """Wraps an ASGI app, such as that of an OpenAI-compatible server.

    Every piece goes on before it is noted, unchanged and in order; nothing waits for the publisher. A response that
    breaks off is published as far as it got. The Authorization header is never looked at.
    """

    def __init__(self, app: AsgiApp, publisher: Publisher, options: CaptureOptions | None = None) -> None:
        self._app = app
        self._publisher = publisher
        self._options = options or CaptureOptions()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].endswith(self._options.paths):
            await self._app(scope, receive, send)
            return
        capture = _Capture(scope, self._options, self._publisher)

        async def noted_receive() -> AsgiMessage:
            message = await receive()
            capture.received(message)
            return message

        async def noted_send(message: AsgiMessage) -> None:
            await send(message)
            capture.sent(message)

        try:
            await self._app(scope, noted_receive, noted_send)
        finally:
            capture.end()


class _Capture:
    """One exchange while it goes on. No method raises."""

    def __init__(self, scope: Scope, options: CaptureOptions, publisher: Publisher) -> None:
        self._path: str = scope["path"]
        self._headers = _decoded(scope["headers"])
        self._options = options
        self._publisher = publisher
        self._time = datetime.now(UTC)
        self._request: list[bytes] = []
        self._response: list[bytes] = []
        self._request_bytes = self._response_bytes = 0
        self._status: int | None = None
        self._response_headers: dict[str, str] = {}
        self._complete = False
        self._ended = False

    def received(self, message: AsgiMessage) -> None:
        """The app got a message of the request."""
        if message["type"] == "http.request" and (piece := message.get("body", b"")):
            self._request_bytes += len(piece)
            if self._request_bytes <= self._options.max_bytes:
                self._request.append(piece)

    def sent(self, message: AsgiMessage) -> None:
        """A message of the response went out."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._response_headers = _decoded(message.get("headers", ()))
        elif message["type"] == "http.response.body":
            if piece := message.get("body", b""):
                self._response_bytes += len(piece)
                if self._response_bytes <= self._options.max_bytes:
                    self._response.append(piece)
            if not message.get("more_body", False):
                self._complete = True
                self.end()

    def end(self) -> None:
        """Publishes, once. Without a request that anyone read, there is nothing to publish."""
        if self._ended:
            return
        self._ended = True
        if not self._request_bytes:
            return
        if max(self._request_bytes, self._response_bytes) > self._options.max_bytes:
            self._publisher.drop(f"a request or response is over {self._options.max_bytes} bytes")
            return
        try:
            self._publisher.publish(self._exchange())
        except Exception as e:  # noqa: BLE001 - the response went out; a failure here must not turn it into an error
            _log.warning("an event was not published: %s", type(e).__name__)

    def _exchange(self) -> Exchange:
        attributes: dict[str, Any] = {"http.path": self._path, **self._options.headers.attributes(self._headers)}
        response: Body | None = None
        if self._status is not None:
            response = Body(self._response, self._response_headers.get("content-encoding", "").lower())
        if not self._complete:
            attributes["response_broke_off"] = True
        return Exchange(
            id=uuid.uuid4().hex,
            time=self._time.isoformat(timespec="milliseconds"),
            request=Body(self._request, self._headers.get("content-encoding", "").lower()),
            response=response,
            status=self._status,
            attributes=attributes,
            traceparent=self._options.headers.traceparent_of(self._headers),
            max_bytes=self._options.max_bytes,
        )


def _decoded(headers: Any) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}
