"""POST /v1/events: what is taken, what is refused and why, and that nobody can exhaust the process."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import socket
import stat
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from monitor.config.http import HttpConfig
from monitor.config.sections import SourceConfig
from monitor.errors import BadEvent, ConfigError, RefusalKind
from monitor.events.event import EventLimits, Record
from monitor.events.parse import parse
from monitor.sources.http import HttpSource, check_address
from tests.brokers import free_ports
from tests.sources.http_caller import JSON, Answer, UnixConnection, ask

MAX_BYTES = 4_096
EVENT = {"id": "e1", "messages": [{"role": "user", "content": "Hi"}], "response": "Hello."}
ONE = json.dumps(EVENT)
EVERYWHERE = "0.0.0.0"  # noqa: S104 - what the config refuses


class Counts:
    """Counts like Telemetry."""

    def __init__(self) -> None:
        self.accepted = 0
        self.refused: Counter[RefusalKind] = Counter()

    def intake_accepted(self) -> None:
        self.accepted += 1

    def intake_refused(self, kind: RefusalKind) -> None:
        self.refused[kind] += 1


class Intake:
    """A source that listens, and a connection to it."""

    def __init__(self, **config: Any) -> None:
        self.counts = Counts()
        self.config = HttpConfig.model_validate({"port": 0, "read_timeout_s": 0.5, **config})
        check = partial(parse, limits=EventLimits(max_bytes=MAX_BYTES))
        source = SourceConfig(poll_timeout_ms=1_000, max_poll_records=10)
        self.source = HttpSource(self.config, source, MAX_BYTES, check, self.counts)
        self.connection = self.connect()

    def connect(self) -> http.client.HTTPConnection:
        if self.config.socket is not None:
            return UnixConnection(self.config.socket)
        return http.client.HTTPConnection("127.0.0.1", self.source.port, timeout=30)

    def raw(self) -> socket.socket:
        found = socket.create_connection(("127.0.0.1", self.source.port))
        found.settimeout(30)
        return found

    def ask(self, *args: Any, **kwargs: Any) -> Answer:
        return ask(self.connection, *args, **kwargs)

    def once(self, *args: Any, **kwargs: Any) -> Answer:
        """`ask` on a connection of its own."""
        with contextlib.closing(self.connect()) as connection:
            return ask(connection, *args, **kwargs)

    def take(self) -> list[Record]:
        return list(self.source.poll())

    def close(self) -> None:
        self.connection.close()
        self.source.close()


Start = Callable[..., Intake]


@pytest.fixture(scope="module")
def listening() -> Iterator[Intake]:
    intake = Intake()
    yield intake
    intake.close()


@pytest.fixture
def intake(listening: Intake) -> Intake:
    """One that holds nothing and has counted nothing; shared by the tests that leave it open."""
    while listening.source.positions()[0].lag:
        listening.take()
    listening.source.commit()
    listening.counts.accepted = 0
    listening.counts.refused.clear()
    return listening


@pytest.fixture
def start() -> Iterator[Start]:
    """Makes new ones."""
    started: list[Intake] = []

    def make(**config: Any) -> Intake:
        started.append(Intake(**config))
        return started[-1]

    yield make
    for intake in started:
        intake.close()


# ---- what is taken


def test_an_event_is_held_and_handed_out_as_it_came(intake: Intake) -> None:
    answer = intake.ask(ONE)
    assert (answer.status, answer.body) == (202, {"status": "accepted", "ids": ["e1"]})
    assert intake.source.held() == (1, len(ONE))
    assert [place.lag for place in intake.source.positions() or ()] == [1]
    (record,) = intake.take()
    assert record.value == ONE.encode()
    intake.source.commit()
    assert intake.source.held() == (0, 0)
    assert intake.counts.accepted == 1


@pytest.mark.parametrize(
    ("content_type", "body", "ids"),
    [
        ("application/json; charset=utf-8", json.dumps([EVENT, EVENT | {"id": "e2"}]), ["e1", "e2"]),
        ("application/x-ndjson", f"{ONE}\n{json.dumps(EVENT | {'id': 'e2'})}\n", ["e1", "e2"]),
        (
            "application/cloudevents+json",
            json.dumps({"specversion": "1.0", "id": "c1", "source": "s", "type": "t", "data": EVENT}),
            ["e1"],
        ),
        (
            "application/cloudevents-batch+json",
            json.dumps([{"specversion": "1.0", "id": "c1", "source": "s", "type": "t", "data": {"response": "x"}}]),
            ["c1"],
        ),
    ],
)
def test_the_formats_of_records(intake: Intake, content_type: str, body: str, ids: list[str]) -> None:
    answer = intake.ask(body, headers={"Content-Type": content_type})
    assert (answer.status, answer.body["ids"]) == (202, ids)


def test_headers_become_headers_of_the_record_and_credentials_do_not(intake: Intake) -> None:
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    sent = {"ce-specversion": "1.0", "ce-id": "c9", "ce-type": "t", "ce-source": "s", "Traceparent": traceparent}
    secret = {"Authorization": "Bearer secret", "Cookie": "secret", "X-Other": "secret"}
    answer = intake.ask(json.dumps({"response": "Hello."}), headers=JSON | sent | secret)
    assert answer.body["ids"] == ["c9"]
    (record,) = intake.take()
    (event,) = parse(record)
    assert event.traceparent == traceparent
    assert record.header("ce_id") == "c9"
    assert b"secret" not in b"".join(value for _, value in record.headers)


def test_events_without_ids_get_ids_that_differ_between_processes(start: Start) -> None:
    ids = [start().ask(json.dumps({"response": "Hello."})).body["ids"] for _ in range(2)]
    assert ids[0] != ids[1]
    assert all(found[0].startswith("http-") for found in ids)


def test_gzip_is_unpacked(intake: Intake) -> None:
    assert intake.ask(gzip.compress(ONE.encode()), headers=JSON | {"Content-Encoding": "gzip"}).status == 202
    (record,) = intake.take()
    assert record.value == ONE.encode()


def test_a_body_in_chunks(intake: Intake) -> None:
    intake.connection.request("POST", "/v1/events", iter([ONE[:9].encode(), ONE[9:].encode()]), JSON)
    answer = intake.connection.getresponse()
    answer.read()
    assert answer.status == 202
    (record,) = intake.take()
    assert record.value == ONE.encode()


# ---- what is refused


@pytest.mark.parametrize(
    ("body", "headers", "status", "kind", "reason"),
    [
        (b"", JSON, 400, "invalid", "the body is empty"),
        (b"{", JSON, 400, "invalid", "not JSON"),
        (b'{"a": 1}', JSON, 400, "invalid", "not a format that is read"),
        (b'{"response": "\xff"}', JSON, 400, "invalid", "not UTF-8"),
        (ONE, {"Content-Type": "text/plain"}, 415, "unsupported", "Content-Type is text/plain: send application/json"),
        (ONE, {}, 415, "unsupported", "Content-Type is missing"),
        (ONE, JSON | {"Content-Encoding": "br"}, 415, "unsupported", "only gzip is unpacked"),
        (ONE, JSON | {"Content-Encoding": "gzip"}, 400, "invalid", "the body is not"),
        (
            gzip.compress(ONE.encode(), mtime=0)[:-9],
            JSON | {"Content-Encoding": "gzip"},
            400,
            "invalid",
            "Content-Encoding is gzip, but the body is not",
        ),
        (b" " * (MAX_BYTES + 1), JSON, 413, "too_large", f"over events.max_bytes = {MAX_BYTES}"),
        (
            gzip.compress(b" " * 50_000_000, mtime=0),
            JSON | {"Content-Encoding": "gzip"},
            413,
            "too_large",
            f"over events.max_bytes = {MAX_BYTES}",
        ),
    ],
)
def test_a_request_is_refused_with_its_reason(
    intake: Intake, body: bytes | str, headers: dict[str, str], status: int, kind: RefusalKind, reason: str
) -> None:
    before = intake.counts.refused[kind]
    answer = intake.once(body, headers=headers)
    assert answer.status == status
    assert reason in answer.body["error"]
    assert intake.counts.refused[kind] == before + 1
    assert intake.source.held() == (0, 0)


def test_too_large_in_chunks_is_refused_before_it_is_all_there(intake: Intake) -> None:
    with intake.raw() as sock:
        sock.sendall(b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
        sock.sendall(b"Transfer-Encoding: chunked\r\n\r\n" + b"1000\r\n" + b" " * 4_096 + b"\r\n1\r\n \r\n")
        assert sock.recv(1_000).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/events", 405),
        ("DELETE", "/v1/events", 405),
        ("OPTIONS", "/v1/events", 405),
        ("GET", "/", 404),
        ("POST", "/v1/events/x", 404),
        ("POST", "//v1/events", 404),
    ],
)
def test_other_methods_and_paths(intake: Intake, method: str, path: str, status: int) -> None:
    answer = intake.once(method=method, path=path)
    assert answer.status == status
    assert answer.body == {"error": "not here: send events with POST /v1/events"}
    assert answer.headers.get("allow") == ("POST" if status == 405 else None)


def test_full_is_429_until_something_is_delivered(start: Start) -> None:
    intake = start(max_records=2)
    assert [intake.ask(ONE).status for _ in range(3)] == [202, 202, 429]
    answer = intake.ask(ONE)
    assert int(answer.headers["retry-after"]) >= 1
    assert intake.counts.refused["full"] == 2
    intake.take()
    assert intake.ask(ONE).status == 429
    intake.source.commit()
    assert intake.ask(ONE).status == 202


def test_full_by_bytes(start: Start) -> None:
    intake = start(max_held_bytes=2 * len(ONE))
    assert [intake.ask(ONE).status for _ in range(3)] == [202, 202, 429]


def test_stopping_is_503_and_what_is_held_is_handed_out(start: Start) -> None:
    intake = start()
    intake.ask(ONE)
    assert intake.source.unready == ""
    intake.source.drain()
    assert intake.source.unready == "stopping"
    assert not intake.source.exhausted
    answer = intake.ask(ONE)
    assert (answer.status, intake.counts.refused["stopping"]) == (503, 1)
    assert len(intake.take()) == 1
    assert intake.source.exhausted


# ---- waiting for delivery


def in_work(intake: Intake, finish: Callable[[list[Record]], None]) -> threading.Thread:
    """Takes the next records, as a pipeline would, and then does `finish`."""

    def work() -> None:
        records: list[Record] = []
        while not records:
            records = intake.take()
        finish(records)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.mark.parametrize("prefer", ["wait", "wait=30", 'respond-async, WAIT="30"; x=1'])
def test_an_answer_waits_for_delivery(intake: Intake, prefer: str) -> None:
    thread = in_work(intake, lambda _: intake.source.commit())
    answer = intake.ask(ONE, headers=JSON | {"Prefer": prefer})
    thread.join()
    assert (answer.status, answer.body["status"]) == (200, "delivered")


def test_every_answer_waits_if_the_config_says_so(start: Start) -> None:
    intake = start(wait_s=30)
    thread = in_work(intake, lambda _: intake.source.commit())
    assert intake.ask(ONE).status == 200
    thread.join()
    assert intake.ask(ONE, headers=JSON | {"Prefer": "wait=0"}).status == 202


def test_an_answer_that_waited_long_enough_says_accepted(start: Start) -> None:
    assert start(wait_s=0.01).ask(ONE).status == 202


def test_a_waiting_caller_hears_that_the_reader_refused_its_event(intake: Intake) -> None:

    def refuse(records: list[Record]) -> None:
        intake.source.refuse(records[0].origin, BadEvent("9 tokens, over events.max_tokens = 8", kind="size"))
        intake.source.commit()

    thread = in_work(intake, refuse)
    answer = intake.ask(ONE, headers=JSON | {"Prefer": "wait"})
    thread.join()
    assert (answer.status, answer.body["error"]) == (422, "$: 9 tokens, over events.max_tokens = 8")


def test_a_waiting_caller_hears_that_its_event_was_lost(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    intake = start()
    thread = in_work(intake, lambda _: intake.source.close())
    answer = intake.ask(ONE, headers=JSON | {"Prefer": "wait"})
    thread.join()
    assert answer.status == 503
    assert "1 requests were accepted and not delivered" in caplog.text


# ---- who may send


def test_other_machines_need_a_token() -> None:
    with pytest.raises(ValueError, match=r"0\.0\.0\.0 can be reached from other machines: set token_file"):
        HttpConfig(host=EVERYWHERE)
    for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost"):
        HttpConfig(host=host)
    HttpConfig(host=EVERYWHERE, token_file=Path("token"))


def test_kept_headers_hold_no_credentials() -> None:
    with pytest.raises(ValueError, match="authorization holds credentials"):
        HttpConfig(record_headers=("authorization",))


def test_the_token(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    intake = start(token_file=file)
    for headers in (JSON, JSON | {"Authorization": "Bearer no"}, JSON | {"Authorization": "Basic first"}):
        answer = intake.ask(ONE, headers=headers)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert intake.ask(ONE, headers=JSON | {"Authorization": "Bearer first"}).status == 202
    file.write_text("second")  # rotated
    assert intake.ask(ONE, headers=JSON | {"Authorization": "Bearer first"}).status == 401
    assert intake.ask(ONE, headers=JSON | {"Authorization": "Bearer second"}).status == 202
    file.write_text("")
    assert intake.ask(ONE, headers=JSON | {"Authorization": "Bearer "}).status == 503
    assert intake.counts.refused["unauthorized"] == 5


# ---- nobody can exhaust it


@pytest.mark.parametrize(
    "sent",
    [b"", b"POST /v1/events HTTP/1.1\r\nHost:", b"POST /v1/events HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 100],
)
def test_a_head_that_does_not_arrive_is_cut_off(intake: Intake, sent: bytes) -> None:
    with intake.raw() as sock:
        sock.sendall(sent)
        assert _closed(sock)


def test_a_body_that_does_not_arrive_is_cut_off(intake: Intake) -> None:
    before = intake.counts.refused["timeout"]
    with intake.raw() as sock:
        sock.sendall(b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
        sock.sendall(b"Content-Length: 100\r\n\r\n{")
        assert sock.recv(1_000).startswith(b"HTTP/1.1 408 ")
        assert _closed(sock)
    assert intake.counts.refused["timeout"] == before + 1


def test_the_head_of_the_next_request_has_no_more_time_than_the_first(intake: Intake) -> None:
    with intake.raw() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(1_000).startswith(b"HTTP/1.1 404 ")
        sock.sendall(b"G")
        assert _closed(sock)


def test_a_head_that_is_too_long_is_refused(intake: Intake) -> None:
    with intake.raw() as sock:
        sock.sendall(b"POST /v1/events HTTP/1.1\r\nX: " + b"y" * 40_000)
        assert sock.recv(1_000).startswith(b"HTTP/1.1 400 ")


def test_connections_over_the_limit_are_closed(start: Start) -> None:
    intake = start(max_connections=2, read_timeout_s=30)
    assert intake.ask(ONE).status == 202  # keeps its connection
    with intake.raw() as second, intake.raw() as third:
        assert _closed(third)
        assert intake.counts.refused["connections"] == 1
        second.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert second.recv(1_000).startswith(b"HTTP/1.1 404 ")


def test_a_caller_that_hangs_up_in_its_body_harms_nobody(intake: Intake) -> None:
    with intake.raw() as sock:
        sock.sendall(b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
        sock.sendall(b"Content-Length: 100\r\n\r\n{")
    assert intake.once(method="GET").status == 405


def _closed(sock: socket.socket) -> bool:
    try:
        while sock.recv(1_000):
            pass
    except ConnectionResetError:
        return True
    return True


# ---- the address


def test_a_unix_socket(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "events.sock"
    intake = start(socket=path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert intake.ask(ONE).status == 202
    with pytest.raises(ConfigError, match="Address already in use"):
        check_address(intake.config)
    intake.close()
    assert not path.exists()


def test_a_socket_that_a_killed_process_left_behind_is_replaced(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "events.sock"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    assert start(socket=path).ask(ONE).status == 202


def test_a_file_that_is_no_socket_stays(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(ConfigError, match=r"http\.socket: .*notes\.txt: cannot listen there: Address already in use"):
        check_address(HttpConfig(socket=path))
    assert path.read_text() == "mine"


def test_check_frees_the_address_again(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    check_address(HttpConfig(port=port))
    check_address(HttpConfig(port=port))
    check_address(HttpConfig(socket=tmp_path / "events.sock"))
    assert not (tmp_path / "events.sock").exists()


def test_faults_of_the_address_name_their_keys(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"http\.port: cannot listen on 127\.0\.0\.1:{port}: .*in use"):
            check_address(HttpConfig(port=port))
    with pytest.raises(ConfigError, match=r"http\.token_file: .*none: No such file"):
        check_address(HttpConfig(port=0, token_file=tmp_path / "none"))
    (tmp_path / "empty").write_text(" \n")
    with pytest.raises(ConfigError, match=r"http\.token_file: .*empty: the file is empty"):
        check_address(HttpConfig(port=0, token_file=tmp_path / "empty"))


def test_a_token_is_needed_only_where_others_can_connect(tmp_path: Path) -> None:
    HttpConfig(host=EVERYWHERE, socket=tmp_path / "events.sock")
    assert HttpConfig(host="::1", port=1).address == "[::1]:1"


def test_a_record_of_the_process_has_an_origin_of_its_own(intake: Intake) -> None:
    intake.ask(ONE)
    intake.ask(ONE)
    first, second = (record.origin for record in intake.take())
    assert (first.topic, second) == ("http", replace(first, offset=first.offset + 1))
