"""CaptureMiddleware: everything passes unchanged, at once and in order; what was said becomes an event."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import requests
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from monitor.errors import BadEvent, ConfigError
from monitor.producers.headers import HeaderNames
from monitor.producers.middleware import AsgiApp, AsgiMessage, CaptureMiddleware, CaptureOptions
from monitor.producers.publisher import Publisher
from tests.producers.asgi_server import AsgiServer
from tests.producers.kept_transport import KeptTransport

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
REQUEST = {"model": "m", "messages": [{"role": "user", "content": "Say hello."}]}
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello there."}}],
}
JSON_HEADERS = [(b"content-type", b"application/json")]


def chunk(text: str, **more: Any) -> bytes:
    body = {"id": "c1", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": text}} | more]}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


class Kept:
    """A middleware around an app, and what it published."""

    def __init__(self) -> None:
        self.transport = KeptTransport()
        self.publisher = Publisher(self.transport)

    def call(
        self,
        app: AsgiApp,
        body: Sequence[bytes] = (json.dumps(REQUEST).encode(),),
        headers: Sequence[tuple[bytes, bytes]] = (),
        path: str = "/v1/chat/completions",
        options: CaptureOptions | None = None,
        method: str = "POST",
    ) -> list[AsgiMessage]:
        """One request. Returns what the client got."""
        sent: list[AsgiMessage] = []
        pieces = [{"type": "http.request", "body": b, "more_body": i < len(body) - 1} for i, b in enumerate(body)]
        incoming = iter(pieces)

        async def receive() -> AsgiMessage:
            return next(incoming, {"type": "http.disconnect"})

        async def send(message: AsgiMessage) -> None:
            sent.append(message)

        scope = {"type": "http", "method": method, "path": path, "headers": list(headers)}
        asyncio.run(self.run(CaptureMiddleware(app, self.publisher, options), scope, receive, send))
        assert self.publisher.flush(60)
        return sent

    async def run(self, app: AsgiApp, *args: Any) -> None:
        await app(*args)


@pytest.fixture
def kept() -> Iterator[Kept]:
    made = Kept()
    yield made
    made.publisher.close()


def answering(*pieces: bytes, status: int = 200, headers: Any = JSON_HEADERS) -> AsgiApp:
    """An app that reads the request and sends these pieces."""

    async def app(_: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for i, piece in enumerate(pieces):
            await send({"type": "http.response.body", "body": piece, "more_body": i < len(pieces) - 1})

    return app


def test_a_request_and_its_response_become_an_event(kept: Kept) -> None:
    body = json.dumps(REQUEST).encode()
    headers = [
        (b"Traceparent", TRACEPARENT.encode()),
        (b"x-request-id", b"r-1"),
        (b"x-tenant", b"acme"),
        (b"authorization", b"Bearer secret"),
        (b"x-other", b"secret"),
    ]
    options = CaptureOptions(headers=HeaderNames(tenant="X-Tenant"))
    kept.call(answering(json.dumps(ANSWER).encode()), (body[:9], body[9:]), headers, options=options)
    (event,) = kept.transport.events()
    assert [(m.role, m.content) for m in event.messages] == [("user", "Say hello.")]
    assert event.response == "Hello there."
    assert event.model == "m"
    assert event.traceparent == TRACEPARENT
    expected = {"tenant": "acme", "request_id": "r-1", "http.path": "/v1/chat/completions", "http.status": 200}
    assert event.attributes.items() >= expected.items()
    (message,) = kept.transport.messages
    assert message.headers == (("traceparent", TRACEPARENT.encode()),)
    assert b"secret" not in message.value


def test_the_id_is_not_one_that_a_caller_chooses(kept: Kept) -> None:
    for _ in range(2):
        kept.call(answering(json.dumps(ANSWER).encode()), headers=[(b"x-request-id", b"the same")])
    first, second = kept.transport.events()
    assert first.id != second.id
    assert "the same" not in (first.id, second.id)


def test_a_streamed_response_passes_piece_by_piece_and_is_put_together(kept: Kept) -> None:
    # cut in the middle of lines and characters, as networks do
    stream = b"".join([chunk("Hel"), chunk("lö "), chunk("there."), b"data: [DONE]\n\n"])
    pieces = [stream[i : i + 7] for i in range(0, len(stream), 7)]
    sent = kept.call(answering(*pieces, headers=[(b"content-type", b"text/event-stream")]))
    assert [m["body"] for m in sent[1:]] == pieces
    (event,) = kept.transport.events()
    assert event.response == "Hellö there."
    (value,) = kept.transport.values()
    assert value["response"]["choices"][0]["message"]["content"] == "Hellö there."


def test_each_piece_goes_out_before_the_next_one_is_made(kept: Kept) -> None:
    order: list[str] = []

    async def app(_: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for text in ("a", "b"):
            order.append(f"made {text}")
            await send({"type": "http.response.body", "body": chunk(text), "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        order.append("returned")

    async def send(message: AsgiMessage) -> None:
        if message["type"] == "http.response.body":
            order.append("sent")

    async def receive() -> AsgiMessage:
        return {"type": "http.request", "body": json.dumps(REQUEST).encode()}

    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": []}
    asyncio.run(kept.run(CaptureMiddleware(app, kept.publisher), scope, receive, send))
    assert order == ["made a", "sent", "made b", "sent", "sent", "returned"]
    assert kept.publisher.flush(60)
    assert [e.response for e in kept.transport.events()] == ["ab"]


def test_a_response_that_breaks_off_is_published_as_far_as_it_got(kept: Kept) -> None:
    async def app(_: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": chunk("Hello ") + chunk("there")[:30], "more_body": True})
        raise RuntimeError("the server broke")

    with pytest.raises(RuntimeError, match="the server broke"):
        kept.call(app)
    assert kept.publisher.flush(60)
    (event,) = kept.transport.events()
    assert event.response == "Hello "
    assert event.attributes["response_broke_off"] is True


def test_a_call_without_a_response_still_has_a_prompt(kept: Kept) -> None:
    async def app(_: Any, receive: Any, send: Any) -> None:
        await receive()
        raise RuntimeError("the server broke")

    with pytest.raises(RuntimeError, match="the server broke"):
        kept.call(app)
    kept.call(answering(b'{"error": {"message": "overloaded"}}', status=503))
    broken, refused = kept.transport.events()
    for event in (broken, refused):
        assert (event.messages[0].content, event.response) == ("Say hello.", "")
    assert refused.attributes["http.status"] == 503


def test_a_packed_response_passes_packed_and_is_read(kept: Kept) -> None:
    packed = gzip.compress(json.dumps(ANSWER).encode())
    headers = [*JSON_HEADERS, (b"Content-Encoding", b"gzip")]
    sent = kept.call(answering(packed[:20], packed[20:], headers=headers))
    assert b"".join(m["body"] for m in sent[1:]) == packed
    assert [e.response for e in kept.transport.events()] == ["Hello there."]


def test_a_response_in_another_encoding_is_named_on_the_event(kept: Kept) -> None:
    kept.call(answering(b"\x00\x01", headers=[(b"content-encoding", b"br")]))
    (event,) = kept.transport.events()
    assert (event.response, event.attributes["unread_response_encoding"]) == ("", "br")


@pytest.mark.parametrize(
    ("path", "method"),
    [("/v1/models", "POST"), ("/v1/chat/completions", "GET"), ("/v1/embeddings", "POST")],
)
def test_other_requests_only_pass(kept: Kept, path: str, method: str) -> None:
    sent = kept.call(answering(b"x"), path=path, method=method)
    assert sent[1]["body"] == b"x"
    assert kept.transport.messages == []


def test_what_is_not_http_only_passes(kept: Kept) -> None:
    seen: list[Any] = []

    async def app(scope: Any, *_: Any) -> None:
        seen.append(scope["type"])

    asyncio.run(kept.run(CaptureMiddleware(app, kept.publisher), {"type": "lifespan"}, None, None))
    assert seen == ["lifespan"]


def test_an_error_page_is_not_what_the_model_said(kept: Kept) -> None:
    kept.call(answering(b"<html>Bad gateway</html>", status=502, headers=[(b"content-type", b"text/html")]))
    kept.call(answering(b"Plain answer.", headers=[(b"content-type", b"text/plain")]))
    assert [e.response for e in kept.transport.events()] == ["", "Plain answer."]


def test_a_request_that_is_ambiguous_is_left_for_the_reader_to_refuse(kept: Kept) -> None:
    body = b'{"messages": [{"role": "user", "content": "one"}], "messages": [{"role": "user", "content": "two"}]}'
    kept.call(answering(json.dumps(ANSWER).encode()), (body,))
    (value,) = kept.transport.values()
    assert value["request"] == body.decode()
    with pytest.raises(BadEvent, match="the key 'messages' is there twice"):
        kept.transport.events()


@pytest.mark.parametrize("big", ["request", "response"])
def test_what_is_too_large_passes_and_is_counted(kept: Kept, big: str, caplog: pytest.LogCaptureFixture) -> None:
    request = json.dumps(REQUEST | {"user": "x" * 900 * (big == "request")}).encode()
    response = json.dumps(ANSWER | {"x": "x" * 900 * (big == "response")}).encode()
    sent = kept.call(answering(response), (request,), options=CaptureOptions(max_bytes=800))
    assert sent[1]["body"] == response
    assert kept.publisher.counts().dropped == 1
    assert caplog.messages == ["1 events were not published: a request or response is over 800 bytes"]


def test_a_packed_body_that_grows_too_large_is_counted(kept: Kept) -> None:
    headers = [*JSON_HEADERS, (b"content-encoding", b"gzip")]
    kept.call(answering(gzip.compress(b" " * 5_000_000), headers=headers), options=CaptureOptions(max_bytes=10_000))
    assert kept.publisher.counts().dropped == 1


def test_a_request_that_is_not_json_is_counted(kept: Kept) -> None:
    kept.call(answering(b"{}"), (b"--boundary",))
    assert kept.publisher.counts().dropped == 1


def test_a_request_that_nobody_read_is_no_event(kept: Kept) -> None:
    async def app(_: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"no"})

    kept.call(app)
    assert kept.publisher.counts().dropped == 0
    assert kept.transport.messages == []


def test_a_full_queue_harms_no_response(kept: Kept) -> None:
    kept.transport.gate.clear()
    small = Publisher(kept.transport, max_events=1)
    body = json.dumps(ANSWER).encode()
    for _ in range(3):
        sent: list[AsgiMessage] = []

        async def send(message: AsgiMessage, sent: list[AsgiMessage] = sent) -> None:
            sent.append(message)

        async def receive() -> AsgiMessage:
            return {"type": "http.request", "body": json.dumps(REQUEST).encode()}

        scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": []}
        asyncio.run(kept.run(CaptureMiddleware(answering(body), small), scope, receive, send))
        assert sent[1]["body"] == body
    assert small.counts().dropped == 2
    kept.transport.gate.set()
    small.close()


def test_headers_with_credentials_are_refused() -> None:
    for name in ("Authorization", "x-api-key", "Cookie"):
        with pytest.raises(ConfigError, match="holds credentials, which are never published"):
            HeaderNames(tenant=name)


def test_it_is_added_to_a_starlette_app_as_the_docs_say(kept: Kept) -> None:
    async def chat(request: Request) -> JSONResponse:
        await request.json()
        return JSONResponse(ANSWER)

    app = Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])])
    app.add_middleware(CaptureMiddleware, publisher=kept.publisher, options=CaptureOptions())
    with AsgiServer(app) as server:
        answer = requests.post(f"{server.url}/v1/chat/completions", json=REQUEST, timeout=30)
    assert answer.json() == ANSWER
    assert kept.publisher.flush(60)
    assert [e.response for e in kept.transport.events()] == ["Hello there."]
