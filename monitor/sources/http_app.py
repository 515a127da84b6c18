"""intake_app: `POST /v1/events`, from request to record, and the answers that say what became of it."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import hmac
import io
import itertools
import secrets
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NoReturn, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from monitor.config.http import HttpConfig
from monitor.errors import BadEvent, RefusalKind
from monitor.events.event import Event, Origin, Record
from monitor.sources.inbox import Inbox, InboxClosed, InboxFull, Outcome

PATH = "/v1/events"
TOPIC = "http"
"""What stands for the topic in the origin of a record."""
_LONGEST_WAIT_S = 300.0
_RETRY_AFTER_S = 1
# a web page can't send these without asking first, and is then told no
_CONTENT_TYPES = (
    "application/json",
    "application/jsonl",
    "application/ndjson",
    "application/x-ndjson",
    "application/x-protobuf",
    "text/event-stream",
)

Check = Callable[[Record], Sequence[Event]]
"""The parser: returns the events in a record or raises BadEvent."""


class IntakeMetrics(Protocol):
    """Counts what comes in."""

    def intake_accepted(self) -> object:
        """A request was accepted."""

    def intake_refused(self, kind: RefusalKind) -> object:
        """A request was refused, or a connection."""


class Refused(HTTPException):
    """A request that is not accepted; `kind` is for the metric and `detail` for the caller."""

    def __init__(self, status: int, kind: RefusalKind, detail: str, headers: dict[str, str] | None = None) -> None:
        self.kind = kind
        super().__init__(status, detail, headers)


def intake_app(config: HttpConfig, max_bytes: int, check: Check, inbox: Inbox, metrics: IntakeMetrics) -> Starlette:
    """The ASGI app. `max_bytes` is the largest body, unpacked; `check` finds out whether it is an event."""
    endpoint = _Endpoint(config, max_bytes, check, inbox, metrics)

    async def refused(_: Request, error: Exception) -> Response:
        if isinstance(error, Refused):
            metrics.intake_refused(error.kind)
        if isinstance(error, HTTPException):
            detail, status = error.detail, error.status_code
            if status in (404, 405):
                detail = f"not here: send events with POST {PATH}"
            return JSONResponse({"error": detail}, status, error.headers)
        raise error

    return Starlette(
        routes=[Route(PATH, endpoint.post, methods=["POST"])],
        exception_handlers={HTTPException: refused},
    )


class _Endpoint:
    def __init__(self, config: HttpConfig, max_bytes: int, check: Check, inbox: Inbox, metrics: IntakeMetrics) -> None:
        self._config = config
        self._max_bytes = max_bytes
        self._check = check
        self._inbox = inbox
        self._metrics = metrics
        # part of the id of events without one, which must differ from those of other processes
        self._process = secrets.randbelow(2**31)
        self._numbers = itertools.count()

    async def post(self, request: Request) -> Response:
        """202 once the record is held in memory, or 200 once it is delivered if the caller waits for that."""
        self._authorise(request)
        if self._inbox.closed:
            _stopping()
        encoding = _encoding(request)
        body = await self._body(request)
        if encoding == "gzip":
            body = self._unpacked(body)
        if not body.strip():
            raise Refused(400, "invalid", "the body is empty")
        origin = Origin(TOPIC, self._process, next(self._numbers))
        record = Record(body, origin, headers=self._headers(request))
        try:
            events = self._check(record)
        except BadEvent as e:
            too_large = e.kind == "size"
            raise Refused(
                413 if too_large else 400, "too_large" if too_large else "invalid", f"{e.path}: {e.reason}"
            ) from None
        try:
            done = self._inbox.offer(record)
        except InboxFull:
            held = {"Retry-After": str(_RETRY_AFTER_S)}
            raise Refused(429, "full", "as many events are held as may be: send it again later", held) from None
        except InboxClosed:
            _stopping()
        self._metrics.intake_accepted()
        return await _answer(done, self._wait_s(request), [event.id for event in events])

    def _authorise(self, request: Request) -> None:
        file = self._config.token_file
        if file is None:
            return
        try:
            token = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            token = ""
        if not token:
            raise Refused(503, "unauthorized", "http.token_file can't be read or is empty")
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        # hashes are of one length, whatever the token's
        same = hmac.compare_digest(_digest(given.strip()), _digest(token))
        if scheme.lower() != "bearer" or not same:
            raise Refused(401, "unauthorized", "needs the token of http.token_file", {"WWW-Authenticate": "Bearer"})

    async def _body(self, request: Request) -> bytes:
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._max_bytes:
            self._too_large()
        body = bytearray()
        try:
            async with asyncio.timeout(self._config.read_timeout_s):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > self._max_bytes:
                        self._too_large()
        except TimeoutError:
            limit = f"the body did not arrive within {self._config.read_timeout_s:g} s"
            raise Refused(408, "timeout", limit, {"Connection": "close"}) from None
        except ClientDisconnect:
            raise Refused(400, "invalid", "the body broke off") from None
        return bytes(body)

    def _unpacked(self, body: bytes) -> bytes:
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
                found = file.read(self._max_bytes + 1)
        except (OSError, EOFError, zlib.error):
            raise Refused(400, "invalid", "Content-Encoding is gzip, but the body is not") from None
        if len(found) > self._max_bytes:
            self._too_large()
        return found

    def _too_large(self) -> NoReturn:
        raise Refused(413, "too_large", f"over events.max_bytes = {self._max_bytes}", {"Connection": "close"})

    def _headers(self, request: Request) -> tuple[tuple[str, bytes], ...]:
        kept = self._config.record_headers
        return tuple(
            # CloudEvents over HTTP has hyphens where CloudEvents over Kafka has underscores
            (f"ce_{name[3:]}" if name.startswith("ce-") else name, value.encode("latin-1"))
            for name, value in request.headers.items()
            if name in kept or name.startswith("ce-")
        )

    def _wait_s(self, request: Request) -> float:
        """How long the caller wants to wait; `wait` without a number is the longest time. Source: RFC 7240, 4.3."""
        for preference in ",".join(request.headers.getlist("prefer")).split(","):
            name, _, value = preference.partition(";")[0].strip().partition("=")
            if name.strip().lower() == "wait":
                value = value.strip().strip('"')
                return min(float(value), _LONGEST_WAIT_S) if value.isdecimal() else _LONGEST_WAIT_S
        return self._config.wait_s


async def _answer(done: Future[Outcome], wait_s: float, ids: list[str]) -> Response:
    content: dict[str, Any] = {"status": "accepted", "ids": ids}
    if wait_s <= 0:
        return JSONResponse(content, 202)
    waiting = asyncio.wrap_future(done)
    await asyncio.wait((waiting,), timeout=wait_s)
    if not waiting.done():
        return JSONResponse(content, 202)
    outcome = waiting.result()
    if outcome == "lost":
        return JSONResponse({"error": "stopped before the events were delivered: send them again"}, 503)
    if isinstance(outcome, BadEvent):
        return JSONResponse({"error": f"{outcome.path}: {outcome.reason}", "ids": ids}, 422)
    return JSONResponse({"status": "delivered", "ids": ids})


def _encoding(request: Request) -> str:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _CONTENT_TYPES and not (kind.startswith("application/") and kind.endswith("+json")):
        said = f"Content-Type is {kind}" if kind else "Content-Type is missing"
        raise Refused(415, "unsupported", f"{said}: send application/json, or application/x-ndjson for JSON lines")
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity", "gzip"):
        accepted = {"Accept-Encoding": "gzip"}
        raise Refused(415, "unsupported", f"Content-Encoding is {encoding}: only gzip is unpacked", accepted)
    return encoding


def _stopping() -> NoReturn:
    headers = {"Retry-After": str(_RETRY_AFTER_S), "Connection": "close"}
    raise Refused(503, "stopping", "the process is stopping: send it again", headers)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
