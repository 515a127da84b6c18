"""Access: who may read, who may judge, and that no other page can make a reviewer's browser judge."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from monitor.alerts.alert import Alert
from monitor.errors import ConfigError
from monitor.review.access import COOKIE, TokenAccess, proxy_access
from tests.review.stored_alerts import number_of, numbered, store
from tests.review.visitor import Visitor

ADA, GRACE = "a" * 24, "g" * 24
PAGES = ("/", "/queue", "/sets", "/export")


@pytest.fixture
def alert(sqlite: Engine) -> Alert:
    """One stored alert."""
    found = numbered(1)
    store(sqlite, [found])
    assert number_of(sqlite, found) == 1
    return found


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """Ada may judge, Grace may only read."""
    file = tmp_path / "reviewers"
    file.write_text(f"# who\nada review {ADA}\n\ngrace read {GRACE}\n")
    return file


def log_in(visitor: Visitor, token: str) -> None:
    assert visitor.send("/login", token=token) == "/"


def test_on_a_loopback_everybody_may_judge(sqlite: Engine, alert: Alert) -> None:
    visitor = Visitor(sqlite)
    visitor.send(f"/alerts/{alert.id}/verdict", f"/alerts/{alert.id}", verdict="true_positive")
    assert "true positive</span> by local" in visitor.page(f"/alerts/{alert.id}")


@pytest.mark.parametrize("host", ["http://evil.example", "http://127.0.0.1.evil.example"])
def test_a_loopback_answers_to_no_other_name(sqlite: Engine, host: str) -> None:
    visitor = Visitor(sqlite, base_url=host)
    assert "localhost" in visitor.page("/", 403)


def test_strangers_see_only_the_login_page(sqlite: Engine, alert: Alert, token_file: Path) -> None:
    visitor = Visitor(sqlite, TokenAccess(token_file))
    for path in (*PAGES, f"/alerts/{alert.id}", "/set?id=unsafe_code-v1"):
        answer = visitor.client.get(path, headers={"Accept": "text/html"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/login")
        assert alert.event.id not in answer.text
    for path in ("/export.jsonl", "/newest", "/set/proposal?id=unsafe_code-v1", "/"):
        assert visitor.client.get(path).status_code == 401
    for path in (f"/alerts/{alert.id}/verdict", f"/alerts/{alert.id}/assignee"):
        visitor.send(path, status=401, verdict="true_positive")
    visitor.send("/login", status=403, token="x" * 24)
    visitor.send("/login", status=403, token="")
    assert visitor.page("/healthz") == "ok\n"


def test_a_token_becomes_a_cookie_that_scripts_cannot_read(sqlite: Engine, alert: Alert, token_file: Path) -> None:
    visitor = Visitor(sqlite, TokenAccess(token_file))
    answer = visitor.client.post("/login", data={"token": ADA})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert ADA not in cookie
    visitor.send(f"/alerts/{alert.id}/verdict", f"/alerts/{alert.id}", verdict="false_positive")
    assert "by ada" in visitor.page(f"/alerts/{alert.id}")
    assert visitor.send("/logout", "/") == "/login"
    assert visitor.client.get("/", headers={"Accept": "text/html"}).status_code == 303


def test_a_cookie_is_of_no_use_once_its_token_has_gone(sqlite: Engine, token_file: Path) -> None:
    visitor = Visitor(sqlite, TokenAccess(token_file))
    log_in(visitor, ADA)
    visitor.page("/")
    token_file.write_text(f"ada review {'n' * 24}\ngrace read {GRACE}\n")
    assert visitor.client.get("/newest").status_code == 401
    log_in(visitor, GRACE)
    forged = visitor.client.cookies[COOKIE].replace("grace", "ada")
    assert visitor.client.get("/newest", headers={"Cookie": f"{COOKIE}={forged}"}).status_code == 401
    token_file.unlink()
    assert visitor.client.get("/newest").status_code == 403


def test_a_bearer_token_does_for_programs(sqlite: Engine, token_file: Path) -> None:
    visitor = Visitor(sqlite, TokenAccess(token_file))
    assert visitor.client.get("/export.jsonl", headers={"Authorization": f"Bearer {GRACE}"}).status_code == 200
    assert visitor.client.get("/export.jsonl", headers={"Authorization": "Bearer x"}).status_code == 401


def test_a_reader_may_not_judge(sqlite: Engine, alert: Alert, token_file: Path) -> None:
    visitor = Visitor(sqlite, TokenAccess(token_file))
    log_in(visitor, GRACE)
    assert "Your verdict" not in visitor.page(f"/alerts/{alert.id}")
    visitor.send(f"/alerts/{alert.id}/verdict", "/", status=403, verdict="true_positive")
    visitor.send(f"/alerts/{alert.id}/assignee", "/", status=403, assignee="ada")
    assert "Nobody has judged" in visitor.page(f"/alerts/{alert.id}")


def test_a_proxy_names_the_reviewer_and_the_role(sqlite: Engine, alert: Alert) -> None:
    access = proxy_access("X-User", "X-Role", ["10.0.0.0/24"])
    visitor = Visitor(sqlite, access, base_url="https://review.example", address="10.0.0.9")
    path = f"/alerts/{alert.id}"
    assert "Your verdict" in visitor.page(path, X_User="ada", X_Role="staff, Review")
    assert "Your verdict" not in visitor.page(path, X_User="ada", X_Role="read")
    for headers in ({}, {"X-User": "ada"}, {"X-User": "ada", "X-Role": "admin"}, {"X-User": "a b", "X-Role": "read"}):
        assert visitor.client.get(path, headers=headers).status_code == 401
    for twice in ("X-User", "X-Role"):
        sent = [("X-User", "ada"), ("X-Role", "review"), (twice, "review")]
        assert visitor.client.get(path, headers=sent).status_code == 401
    elsewhere = Visitor(sqlite, access, base_url="https://review.example", address="10.0.1.9")
    elsewhere.page(path, 403, X_User="ada", X_Role="review")


def test_without_a_role_header_everybody_known_may_judge(sqlite: Engine, alert: Alert) -> None:
    visitor = Visitor(sqlite, proxy_access("X-User", None, []))
    assert "Your verdict" in visitor.page(f"/alerts/{alert.id}", X_User="ada@example.org")


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_a_form_from_another_site_is_refused(sqlite: Engine, alert: Alert, headers: dict[str, str]) -> None:
    visitor = Visitor(sqlite)
    visitor.client.headers.update(headers)
    visitor.send(f"/alerts/{alert.id}/verdict", "/alerts/" + alert.id, status=403, verdict="true_positive")


def test_a_form_without_the_right_signature_is_refused(sqlite: Engine, alert: Alert, token_file: Path) -> None:
    path = f"/alerts/{alert.id}/verdict"
    Visitor(sqlite).send(path, status=403, verdict="true_positive")
    Visitor(sqlite).send(path, status=403, verdict="true_positive", csrf="local.x.y")
    # and one that was made for somebody else
    access = TokenAccess(token_file)
    visitor = Visitor(sqlite, access)
    log_in(visitor, GRACE)
    page = visitor.page("/")
    log_in(visitor, ADA)
    visitor.send(path, status=403, verdict="true_positive", csrf=page.split('name="csrf" value="')[1].split('"')[0])


def test_a_form_is_bounded(sqlite: Engine, alert: Alert) -> None:
    path = f"/alerts/{alert.id}/verdict"
    Visitor(sqlite).send(path, status=413, note="x" * 70_000)
    Visitor(sqlite).send(path, status=400, **{f"f{n}": "x" for n in range(30)})
    Visitor(sqlite).send(path, f"/alerts/{alert.id}", status=400, verdict="maybe")
    Visitor(sqlite).send("/alerts/nope/verdict", f"/alerts/{alert.id}", status=404, verdict="unsure")


def test_every_answer_carries_the_policy(sqlite: Engine, alert: Alert) -> None:
    visitor = Visitor(sqlite)
    for path in ("/", "/nope", "/?since=x", "/review.css", "/review.js", "/newest", f"/alerts/{alert.id}"):
        headers = visitor.client.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no line of the form"),
        ("ada review", ":1: expected NAME ROLE TOKEN"),
        (f"ada admin {ADA}", "a role is read or review"),
        ("ada review short", "fewer than 20 characters"),
        (f"ada review {ADA}\nada read {GRACE}", ":2: ada: listed twice"),
        (f"<b> review {ADA}", "a name has letters"),
    ],
)
def test_a_token_file_that_cannot_be_used_is_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "reviewers"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        TokenAccess(file)
    assert said in str(caught.value)
    assert ADA not in str(caught.value)


def test_a_proxy_that_is_no_address_is_refused() -> None:
    with pytest.raises(ConfigError, match="--proxy: gateway"):
        proxy_access("X-User", None, ["gateway"])


def test_a_database_failure_is_an_answer(sqlite: Engine) -> None:
    visitor = Visitor(sqlite)
    with sqlite.begin() as connection:
        connection.exec_driver_sql("DROP TABLE verdict")
    assert isinstance(visitor.client, TestClient)
    assert "The database cannot be used" in visitor.page("/sets", 503)
