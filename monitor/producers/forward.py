"""Forward: an ASGI app that passes every request on to a server, and its response back, byte for byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx

from monitor.errors import ConfigError
from monitor.producers.middleware import AsgiMessage, Receive, Scope, Send

_HOP_BY_HOP = (
    b"connection",
    b"expect",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
)
_CONNECT_S = 10.0
_MAX_CONNECTIONS = 1_000


class Forward:
    """Passes requests to `upstream`. Only the headers that belong to one connection change.

    If the client goes away, the request to the server ends too. If the server can't be reached, the answer is 502.
    """

    def __init__(self, upstream: str) -> None:
        """`upstream` is the server's URL; a path in it goes before that of each request. Raises ConfigError."""
        self._upstream = httpx.URL(upstream)
        if self._upstream.scheme not in ("http", "https") or not self._upstream.host or self._upstream.query:
            raise ConfigError(f"{upstream}: expected the URL of a server, such as http://127.0.0.1:8000")
        self._client = httpx.AsyncClient(
            # how long a model takes is up to client and server
            timeout=httpx.Timeout(None, connect=_CONNECT_S),
            limits=httpx.Limits(max_connections=_MAX_CONNECTIONS, max_keepalive_connections=_MAX_CONNECTIONS),
            trust_env=False,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] != "http":
            raise ValueError(f"only HTTP is passed on, not {scope['type']}")
        body = _RequestBody(receive)
        passing = asyncio.ensure_future(self._pass_on(scope, body, send))
        leaving = asyncio.ensure_future(body.client_left())
        try:
            await asyncio.wait((passing, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            if not passing.done():
                passing.cancel()
            await asyncio.gather(leaving, passing, return_exceptions=True)
        if not passing.cancelled():
            passing.result()

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._client.aclose()
        await send({"type": "lifespan.shutdown.complete"})

    async def _pass_on(self, scope: Scope, body: _RequestBody, send: Send) -> None:
        request = self._request(scope, body)
        try:
            response = await self._client.send(request, stream=True)
        except httpx.HTTPError as e:
            await _bad_gateway(send, f"cannot reach {self._upstream}: {type(e).__name__}")
            return
        try:
            headers = [(name.lower(), value) for name, value in response.headers.raw if name.lower() not in _HOP_BY_HOP]
            await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
            async for piece in response.aiter_raw():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await response.aclose()

    def _request(self, scope: Scope, body: _RequestBody) -> httpx.Request:
        path = self._upstream.raw_path.rstrip(b"/") + (scope.get("raw_path") or scope["path"].encode())
        target = path + b"?" + scope["query_string"] if scope.get("query_string") else path
        url = self._upstream.copy_with(raw_path=target)
        given = [(name, value) for name, value in scope["headers"] if name not in (*_HOP_BY_HOP, b"host")]
        has_body = any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])
        if not has_body:
            body.skip()
        # made here, because a client's own requests carry further headers
        return httpx.Request(scope["method"], url, headers=given, content=body.pieces() if has_body else None)


class _RequestBody:
    """The body of the client's request, and then whether the client is still there."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._read = asyncio.Event()

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it arrives."""
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise httpx.WriteError("the client went away")
            more = message.get("more_body", False)
            if piece := message.get("body", b""):
                yield piece
        self._read.set()

    def skip(self) -> None:
        """There is no body."""
        self._read.set()

    async def client_left(self) -> None:
        """Returns when the client has gone."""
        await self._read.wait()
        while True:
            message: AsgiMessage = await self._receive()
            if message["type"] == "http.disconnect":
                return


async def _bad_gateway(send: Send, reason: str) -> None:
    content: dict[str, Any] = {"error": {"message": reason, "type": "upstream_unreachable"}}
    body = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 502, "headers": headers})
    await send({"type": "http.response.body", "body": body})
