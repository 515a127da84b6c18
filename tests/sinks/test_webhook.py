"""WebhookSink: what arrives at a real endpoint, signed and in the receiver's form; the examples of docs/sinks.md."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from monitor.alerts.alert import Alert
from monitor.config.load import load_config
from monitor.errors import ConfigError, Permanent, Retryable
from monitor.sinks import signature
from monitor.sinks.signature import WebhookSigner
from monitor.sinks.webhook import WebhookSink, WebhookSinkConfig
from tests.alert_factory import SECRET, make_alert, make_content
from tests.http_receiver import HttpReceiver

PAGE = (Path(__file__).parents[2] / "docs" / "sinks.md").read_text(encoding="utf-8")
KEY = "whsec_bGF0ZW50d2F0Y2gtdGVzdC1zZWNyZXQtMjQrYnl0ZXM="


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    with HttpReceiver() as made:
        yield made


def send(receiver: HttpReceiver, *alerts: Alert, **changes: Any) -> None:
    sink = WebhookSink(WebhookSinkConfig(**{"enabled": True, "url": f"{receiver.url}/hook", **changes}))
    for alert in alerts:
        sink.add(alert)
    try:
        sink.flush()
    finally:
        sink.close()


def test_without_a_template_the_body_is_the_alert(receiver: HttpReceiver) -> None:
    send(receiver, make_alert("a"), make_alert("b"))
    assert [Alert.from_json(request.body) for request in receiver.requests] == [make_alert("a"), make_alert("b")]
    assert [(r.path, r.headers["content-type"]) for r in receiver.requests] == [("/hook", "application/json")] * 2
    assert "webhook-signature" not in receiver.requests[0].headers


def test_a_request_is_signed_over_id_time_and_body(receiver: HttpReceiver) -> None:
    send(receiver, make_alert(), secret=KEY)
    (request,) = receiver.requests
    sent = request.headers
    assert sent["webhook-id"] == make_alert().id
    signed = f"{sent['webhook-id']}.{sent['webhook-timestamp']}.".encode() + request.body
    digest = hmac.new(base64.b64decode(KEY.removeprefix("whsec_")), signed, hashlib.sha256).digest()
    assert sent["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"


def test_the_signature_is_that_of_the_reference_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signature.time, "time", lambda: 1_700_000_000.9)
    assert WebhookSigner(KEY, "k").headers("0123abc", '{"a": "✓"}'.encode()) == {
        "webhook-id": "0123abc",
        "webhook-timestamp": "1700000000",
        # made with standardwebhooks 1.1.0 for Python
        "webhook-signature": "v1,llIRPgB3ZWe8I/MCO4KWgQLMuPs/d++maOXIhJBP8yk=",
    }


@pytest.mark.parametrize("secret", ["hunter2", "whsec_", "bm90IGxvbmc=", "käse" * 20, KEY[:-3]])
def test_a_weak_or_broken_secret_is_refused_and_not_shown(receiver: HttpReceiver, tmp_path: Path, secret: str) -> None:
    (tmp_path / "secret").write_text(secret)
    with pytest.raises(ConfigError, match=r"sinks\.webhook\.secret_file: expected at least 24 random bytes") as caught:
        send(receiver, secret_file=tmp_path / "secret")
    assert secret.removeprefix("whsec_") == "" or secret not in str(caught.value)


def test_what_has_arrived_is_not_sent_again(receiver: HttpReceiver) -> None:
    sink = WebhookSink(WebhookSinkConfig(enabled=True, url=receiver.url))
    receiver.statuses = [200, 503]
    for _ in range(2):
        for name in "abc":
            sink.add(make_alert(name))
        if len(receiver.requests) == 0:
            with pytest.raises(Retryable, match="HTTP 503"):
                sink.flush()
            sink.reset()
    sink.flush()
    sink.close()
    assert [Alert.from_json(r.body).event.id for r in receiver.requests] == ["a", "b", "b", "c"]


def test_text_leaves_only_inside_captured_content(receiver: HttpReceiver) -> None:
    template = "{{ alert | tojson }}"
    send(receiver, make_alert(), template=template)
    send(receiver, make_alert())
    assert not any(SECRET.encode() in request.body for request in receiver.requests)
    send(receiver, make_alert(content=make_content()), template=template)
    assert SECRET.encode() in receiver.requests[-1].body


# ---- templates


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{", "it renders to no JSON"),
        ('{"a": {{ alert.message }}}', "tojson"),
        ("{{ alert.sett.id | tojson }}", "has no attribute 'sett'"),
        ("\n{% if %}", "line 2: "),
        ("{{ secrets.key | tojson }}", "has no attribute 'key'"),
        ("{{ alert.__class__.__mro__ }}", ""),
        ('{"a": {{ (1 / 0) | tojson }}}', "division by zero"),
        ('{"a": {{ alert.content.text | tojson }}}', "None"),
    ],
)
def test_a_bad_template_is_found_at_the_start(receiver: HttpReceiver, template: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        send(receiver, template=template)
    assert str(caught.value).startswith("sinks.webhook.template: ")
    assert problem in str(caught.value)


def test_an_alert_that_a_template_fails_on_is_refused_without_its_text(receiver: HttpReceiver) -> None:
    template = "{{ (1 / (alert.score - 2.5)) | tojson }}"
    with pytest.raises(Permanent, match=r"^the template failed: ZeroDivisionError$"):
        send(receiver, make_alert(score=2.5), template=template)


def test_what_renders_to_nothing_is_not_sent(receiver: HttpReceiver) -> None:
    template = '{% if alert.severity == "high" %}{{ alert.id | tojson }}{% endif %}'
    send(receiver, make_alert("a"), make_alert("b", severity="high"), template=template)
    assert [json.loads(request.body) for request in receiver.requests] == [make_alert("b").id]


def test_other_content_than_json(receiver: HttpReceiver) -> None:
    send(receiver, make_alert(), template="alert {{ alert.set.id }}\n", content_type="text/plain; charset=utf-8")
    (request,) = receiver.requests
    assert (request.body, request.headers["content-type"]) == (b"alert unsafe-code", "text/plain; charset=utf-8")


def test_a_secret_is_not_shown_with_the_fault_of_its_template(receiver: HttpReceiver, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("hunter2")
    with pytest.raises(ConfigError) as caught:
        send(receiver, template="{{ alert[secrets.key] }}", template_secret_files={"key": tmp_path / "key"})
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"template_secret_files\.key_file: .*No such file"):
        send(receiver, template="1", template_secret_files={"key": tmp_path / "gone"})


# ---- config


def test_one_url_is_needed_and_it_may_be_a_secret(receiver: HttpReceiver, tmp_path: Path) -> None:
    for bad in ({}, {"url": "http://a", "url_file": "b"}):
        with pytest.raises(ValidationError, match="set either url or url_file"):
            WebhookSinkConfig.model_validate({"enabled": True, **bad})
    (tmp_path / "url").write_text(f"{receiver.url}/services/T0/B0\n")
    send(receiver, make_alert(), url=None, url_file=tmp_path / "url")
    assert receiver.requests[0].path == "/services/T0/B0"


def test_the_secret_is_refused_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"sinks": {"webhook": {"enabled": True, "url": "http://a", "secret": KEY}}}))
    with pytest.raises(ConfigError, match=r"sinks\.webhook\.secret: secrets are not allowed .*secret_file"):
        load_config(path, {})


# ---- the examples of the page


def example(heading: str) -> dict[str, Any]:
    text = PAGE.split(f"\n### {heading}\n")[1]
    block = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert block is not None
    found: dict[str, Any] = yaml.safe_load(block.group(1))["sinks"]["webhook"]
    return found


def hostile(**changes: Any) -> Alert:
    """An alert whose strings try to break out of the JSON."""
    bad = '"}, <!channel> {{ alert }} \\ \n\u2028' + "x" * 5_000
    alert = make_alert(bad, severity="high", message=bad, **changes)
    return alert.model_copy(update={"event": alert.event.model_copy(update={"model": bad})})


def test_the_example_for_slack(receiver: HttpReceiver, tmp_path: Path) -> None:
    (tmp_path / "url").write_text(receiver.url)
    changes = {**example("Slack"), "url_file": tmp_path / "url", "url": None}
    send(receiver, make_alert(severity="medium"), make_alert("b", severity="high"), hostile(), **changes)
    first, second = (json.loads(request.body) for request in receiver.requests)
    assert first["text"] == "high: Unsafe code"
    header, section, context = first["blocks"]
    assert header["text"] == {"type": "plain_text", "text": "Unsafe code (high)"}
    assert section["text"]["text"] == make_alert().message
    assert context["elements"][0]["text"] == "score 2.5 of 1.5, event b"
    assert "<!channel>" not in second["text"]
    # the limits of Slack
    assert len(second["blocks"][0]["text"]["text"]) <= 150
    assert len(second["blocks"][1]["text"]["text"]) <= 3_000


def test_the_example_for_pagerduty(receiver: HttpReceiver, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("R0UT1NG")
    changes = {**example("PagerDuty"), "url": receiver.url, "template_secret_files": {"routing_key": tmp_path / "key"}}
    send(receiver, make_alert(severity="low"), hostile(), **changes)
    first, second = (json.loads(request.body) for request in receiver.requests)
    assert (first["routing_key"], first["event_action"]) == ("R0UT1NG", "trigger")
    assert first["dedup_key"] == "latentwatch/unsafe-code/low"
    assert first["payload"] == {
        "summary": make_alert().message,
        "source": "gpt-x",
        "severity": "info",
        "timestamp": "2025-01-02T03:04:05Z",
        "component": "unsafe-code",
        "class": "unsafe_code",
        "custom_details": {"event": "chat-1", "score": 2.5, "threshold": 1.5, "features": ["shell injection"]},
    }
    assert second["payload"]["severity"] == "error"
    # the limits of PagerDuty
    assert len(second["payload"]["summary"]) <= 1_024
    assert len(second["dedup_key"]) <= 255
