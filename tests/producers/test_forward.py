"""Forward: every byte of request and response passes, and failures on either side end cleanly."""

from __future__ import annotations

import gzip
import http.client
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from monitor.errors import ConfigError
from monitor.producers.forward import Forward
from monitor.producers.middleware import CaptureMiddleware, CaptureOptions
from monitor.producers.publisher import Publisher
from tests.brokers import free_ports
from tests.producers.asgi_server import AsgiServer
from tests.producers.kept_transport import KeptTransport

PACKED = gzip.compress(b"packed", mtime=0)
LEFT = threading.Event()


async def upstream(scope: Any, receive: Any, send: Any) -> None:
    """Answers with what it got; /stream sends pieces, /gzip is packed, /endless goes on until the client leaves."""
    body = bytearray()
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if scope["path"].endswith("/endless"):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"data: {}\n\n", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        LEFT.set()
        return
    headers = [(b"x-server", b"one"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
    if scope["path"].endswith("/gzip"):
        headers.append((b"content-encoding", b"gzip"))
        pieces = [PACKED]
    elif scope["path"].endswith("/stream"):
        pieces = [f"data: {n}\n\n".encode() for n in range(20)]
    else:
        seen = {name.decode(): value.decode() for name, value in scope["headers"] if name != b"host"}
        got = {"method": scope["method"], "path": scope["raw_path"].decode(), "query": scope["query_string"].decode()}
        pieces = [json.dumps(got | {"headers": seen, "body": body.decode()}).encode()]
        headers.append((b"content-length", str(len(pieces[0])).encode()))
    await send({"type": "http.response.start", "status": 207, "headers": headers})
    for i, piece in enumerate(pieces):
        await send({"type": "http.response.body", "body": piece, "more_body": i < len(pieces) - 1})


@pytest.fixture(scope="module")
def server() -> Iterator[AsgiServer]:
    with AsgiServer(upstream) as found:
        yield found


@pytest.fixture(scope="module")
def proxy(server: AsgiServer) -> Iterator[AsgiServer]:
    with AsgiServer(Forward(server.url)) as found:
        yield found


def ask(url: str, path: str, method: str = "POST", body: Any = b"", **headers: str) -> tuple[int, list[Any], bytes]:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.getheaders(), answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("path", "method", "body"),
    [
        ("/v1/chat/completions", "POST", b'{"a": 1}'),
        ("/v1/a%2Fb?x=%20y&z", "POST", "Grüße".encode()),
        ("/v1/models", "GET", None),
        ("/v1/x", "DELETE", None),
        ("/stream", "POST", b"{}"),
        ("/gzip", "GET", None),
    ],
)
def test_the_answer_is_the_same_byte_for_byte(
    server: AsgiServer, proxy: AsgiServer, path: str, method: str, body: bytes | None
) -> None:
    headers = {"Authorization": "Bearer k", "X-Thing": "1", "Accept_Encoding": "gzip", "User_Agent": "me"}
    direct = ask(server.url, path, method, body, **headers)
    assert ask(proxy.url, path, method, body, **headers) == direct
    assert direct[0] == 207


def test_a_body_in_pieces_passes(proxy: AsgiServer) -> None:
    _, _, body = ask(proxy.url, "/x", "POST", iter([b"one ", b"two"]))
    assert json.loads(body)["body"] == "one two"


def test_a_path_of_the_server_goes_first(server: AsgiServer) -> None:
    with AsgiServer(Forward(f"{server.url}/base/")) as found:
        assert json.loads(ask(found.url, "/v1/x?q=1")[2])["path"] == "/base/v1/x"


def test_a_server_that_is_down_is_502() -> None:
    (port,) = free_ports(1)
    with AsgiServer(Forward(f"http://127.0.0.1:{port}")) as found:
        status, _, body = ask(found.url, "/v1/chat/completions", "POST", b"{}")
    assert (status, json.loads(body)["error"]["type"]) == (502, "upstream_unreachable")


def test_a_client_that_leaves_ends_the_request_and_what_it_got_is_published(server: AsgiServer) -> None:
    transport = KeptTransport()
    publisher = Publisher(transport)
    LEFT.clear()
    app = CaptureMiddleware(Forward(server.url), publisher, CaptureOptions(paths=("/endless",)))
    with AsgiServer(app) as found:
        connection = http.client.HTTPConnection(found.url.removeprefix("http://"), timeout=30)
        connection.request("POST", "/endless", b'{"prompt": "Hi"}')
        answer = connection.getresponse()
        assert answer.read(5) == b"data:"
        answer.close()
        connection.close()
        assert LEFT.wait(30)
    publisher.close(30)
    (value,) = transport.values()
    assert value["request"] == {"prompt": "Hi"}
    assert value["attributes"]["response_broke_off"] is True


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", "http://", "http://x/?a=b"])
def test_what_is_no_server(url: str) -> None:
    with pytest.raises(ConfigError, match="expected the URL of a server"):
        Forward(url)
