"""HttpDestination: certificates, redirects, secrets and answers, over real sockets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monitor.demo.free_port import free_port
from monitor.errors import ConfigError, Permanent, Retryable
from monitor.sinks.http import HttpDestination, HttpSinkConfig
from tests.certificates import Authority
from tests.http_receiver import HttpReceiver


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    with HttpReceiver() as made:
        yield made


def post(url: str, **changes: Any) -> None:
    destination = HttpDestination("sinks.x", url, HttpSinkConfig(**{"timeout_s": 5, **changes}))
    try:
        destination.post(b"{}", {"Content-Type": "application/json"})
    finally:
        destination.close()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (301, Retryable), (401, Retryable), (404, Retryable), (408, Retryable), (429, Retryable), (503, Retryable),
        (400, Permanent), (413, Permanent), (422, Permanent),
    ],
)  # fmt: skip
def test_an_answer_that_an_operator_or_time_can_change_is_tried_again(
    receiver: HttpReceiver, status: int, error: type[Exception]
) -> None:
    receiver.statuses = [status]
    with pytest.raises(error, match=f"^sinks.x: localhost:[0-9]+: HTTP {status} "):
        post(receiver.url)


def test_redirects_are_not_followed(receiver: HttpReceiver) -> None:
    receiver.statuses, receiver.headers = [307], {"Location": f"{receiver.url}/elsewhere"}
    with pytest.raises(Retryable, match="redirects are not followed"):
        post(f"{receiver.url}/here")
    assert [request.path for request in receiver.requests] == ["/here"]


def test_the_receiver_says_when_to_come_back(receiver: HttpReceiver) -> None:
    receiver.statuses, receiver.headers = [429], {"Retry-After": "17"}
    with pytest.raises(Retryable) as caught:
        post(receiver.url)
    assert caught.value.retry_after_s == 17


def test_a_receiver_that_is_down_or_slow_is_named_without_its_path(receiver: HttpReceiver) -> None:
    with pytest.raises(Retryable, match=r"^sinks\.x: 127\.0\.0\.1:[0-9]+: Connection refused$"):
        post(f"http://127.0.0.1:{free_port()}/services/hush")
    receiver.hang.clear()
    with pytest.raises(Retryable, match=r"^sinks\.x: localhost:[0-9]+: no answer in time$"):
        post(f"{receiver.url}/services/hush", timeout_s=0.2)


def test_certificates_are_checked(authority: Authority, tmp_path: Path) -> None:
    with HttpReceiver(authority.issue("hook", hosts=("localhost",))) as receiver:
        post(receiver.url, cafile=authority.ca_file)
        with pytest.raises(Retryable, match="certificate verify failed"):
            post(receiver.url)
        with pytest.raises(Retryable, match=r"127\.0\.0\.1"):  # the certificate names localhost
            post(receiver.url.replace("localhost", "127.0.0.1"), cafile=authority.ca_file)
        assert len(receiver.requests) == 1
    with pytest.raises(ConfigError, match=r"sinks\.x\.cafile: .*no such file"):
        post("https://localhost", cafile=tmp_path / "none.pem")


def test_headers_come_from_the_file_and_are_read_again_on_reset(receiver: HttpReceiver, tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_text("Authorization: Bearer one\n")
    destination = HttpDestination("sinks.x", receiver.url, HttpSinkConfig(headers_file=file))
    for content in ("Authorization: Bearer two\n", "broken"):
        destination.post(b"{}", {})
        file.write_text(content)
        destination.reset()
    destination.post(b"{}", {})
    destination.close()
    assert [r.headers["authorization"] for r in receiver.requests] == ["Bearer one", "Bearer two", "Bearer two"]
    with pytest.raises(ConfigError, match=r"sinks\.x\.headers_file: .*: line 1: expected"):
        post(receiver.url, headers_file=file)


def test_no_password_comes_from_the_user_s_files(
    receiver: HttpReceiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine localhost login me password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    post(receiver.url)
    assert "authorization" not in receiver.requests[0].headers


@pytest.mark.parametrize("url", ["", "hook:80", "ftp://hook/hush", "http://", "http://host:port/hush", "http://["])
def test_a_bad_url_is_a_config_error_that_does_not_show_it(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^sinks\.x\.url: expected") as caught:
        post(url)
    assert "hush" not in str(caught.value)


def test_passwords_in_the_url_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"headers_file") as caught:
        post("https://me:hunter2@hook/x")
    assert "hunter2" not in str(caught.value)
