"""AlertmanagerSink against a real Alertmanager: alerts are grouped, extended and resolved."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from monitor.alerts.alert import Alert
from monitor.errors import Retryable
from monitor.sinks import alertmanager as module
from monitor.sinks.alertmanager import AlertmanagerSink, AlertmanagerSinkConfig
from tests.alert_factory import SECRET, make_alert, make_content
from tests.brokers import free_ports
from tests.http_receiver import HttpReceiver

PAGE = (Path(__file__).parents[2] / "docs" / "sinks.md").read_text(encoding="utf-8")
BINARY = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real Alertmanager with the routes of docs/sinks.md, which sends nothing to anybody."""
    if BINARY is None:
        pytest.skip("install Alertmanager (Debian: prometheus-alertmanager) to run this test")
    folder = tmp_path_factory.mktemp("alertmanager")
    (example,) = re.findall(r"```yaml\n(route:.*?)```", PAGE, re.DOTALL)
    (folder / "config.yaml").write_text(example)
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    options = (
        f"config.file={folder}/config.yaml",
        f"storage.path={folder}/data",
        f"web.listen-address=127.0.0.1:{port}",
    )
    command = [BINARY, *(f"--{option}" for option in (*options, "cluster.listen-address="))]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        until(lambda: answers(f"{url}/-/ready"))
        yield url
    finally:
        process.kill()
        process.wait()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def until(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.05)


def alerts(server: str, name: str) -> list[dict[str, Any]]:
    """What is firing there for one set."""
    with urllib.request.urlopen(f"{server}/api/v2/alerts?filter=set%3D%22{name}%22", timeout=5) as response:
        found: list[dict[str, Any]] = json.load(response)
    return found


def of_set(name: str, event_id: str = "chat-1", **changes: Any) -> Alert:
    alert = make_alert(event_id, **changes)
    return alert.model_copy(update={"set": alert.set.model_copy(update={"id": name})})


def sink(server: str, **changes: Any) -> AlertmanagerSink:
    return AlertmanagerSink(AlertmanagerSinkConfig(url=server, **changes))


def of_tenant(tenant: str, alert: Alert) -> Alert:
    return alert.model_copy(update={"event": alert.event.model_copy(update={"attributes": {"tenant": tenant}})})


def test_a_burst_is_one_alert_for_each_set_severity_and_label(server: str) -> None:
    made = sink(server, labels={"tenant": "event.attributes.tenant"})
    for n in range(20):
        made.add(of_tenant("bank", of_set("burst", f"e{n}")))
    made.add(of_tenant("bank", of_set("burst", "grave", severity="critical")))
    made.add(of_tenant('shop "y"', of_set("burst", "other")))
    made.flush()
    found = {(a["labels"]["severity"], a["labels"]["tenant"]): a for a in alerts(server, "burst")}
    assert set(found) == {("medium", "bank"), ("critical", "bank"), ("medium", 'shop "y"')}
    many = found["medium", "bank"]
    assert many["labels"] == {
        "alertname": "LatentwatchFeatureActive",
        "set": "burst",
        "category": "unsafe_code",
        "severity": "medium",
        "tenant": "bank",
    }
    assert many["annotations"]["summary"] == "Unsafe code: 20 alerts"
    assert (many["annotations"]["count"], many["annotations"]["event_id"]) == ("20", "e19")
    assert many["annotations"]["description"] == make_alert().message

    # the next batch extends it
    made.add(of_tenant("bank", of_set("burst", "e20")))
    made.flush()
    made.close()
    (again,) = (a for a in alerts(server, "burst") if a["annotations"]["event_id"] == "e20")
    assert again["annotations"]["count"] == "21"
    assert again["fingerprint"] == many["fingerprint"]
    assert again["startsAt"] == many["startsAt"]
    assert again["endsAt"] > many["endsAt"]
    assert len(alerts(server, "burst")) == 3


def test_it_is_resolved_after_a_quiet_time_although_nobody_says_so(server: str) -> None:
    made = sink(server, resolve_after_s=2.0)
    made.add(of_set("quiet"))
    made.flush()
    made.close()
    assert len(alerts(server, "quiet")) == 1
    until(lambda: alerts(server, "quiet") == [])


def test_an_alert_without_the_field_goes_without_the_label(server: str) -> None:
    made = sink(server, labels={"talk": "event.conversation_id", "layer": "reader.layer"})
    alert = of_set("bare")
    made.add(alert.model_copy(update={"event": alert.event.model_copy(update={"conversation_id": None})}))
    made.flush()
    made.close()
    (found,) = alerts(server, "bare")
    assert (found["labels"].get("talk"), found["labels"]["layer"]) == (None, "9")


# ---- against an endpoint that keeps what it gets


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    with HttpReceiver() as made:
        yield made


def test_a_batch_that_is_sent_again_is_not_counted_twice(receiver: HttpReceiver) -> None:
    receiver.statuses = [503]
    made = sink(f"{receiver.url}/")
    made.add(make_alert("a"))
    with pytest.raises(Retryable, match=r"^sinks\.alertmanager: localhost:[0-9]+: HTTP 503"):
        made.flush()
    made.reset()
    for name in "ab":
        made.add(make_alert(name))
    made.flush()
    made.flush()  # nothing new
    made.close()
    assert [request.path for request in receiver.requests] == ["/api/v2/alerts"] * 2
    assert json.loads(receiver.requests[1].body)[0]["annotations"]["count"] == "2"


def test_groups_are_bounded(receiver: HttpReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_GROUPS", 3)
    made = sink(receiver.url, labels={"event": "event.id"})
    for n in range(10):
        made.add(make_alert(f"e{n}"))
    made.flush()
    made.close()
    posted = json.loads(receiver.requests[0].body)
    assert [a["labels"].get("event") for a in posted] == ["e0", "e1", "e2", None]
    assert posted[-1]["annotations"]["count"] == "7"


def test_labels_are_short_and_no_text_leaves_even_if_it_is_captured(receiver: HttpReceiver) -> None:
    made = sink(receiver.url, labels={"event": "event.id"})
    made.add(make_alert("x" * 5_000, content=make_content()))
    made.flush()
    made.close()
    (request,) = receiver.requests
    assert json.loads(request.body)[0]["labels"]["event"] == "x" * 200
    assert SECRET.encode() not in request.body


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        ({"severity": "event.model"}, "labels.severity: this label is always set"),
        ({"m": "event.mode"}, "labels.m: event.mode is no single value"),
        ({"m": "event"}, "labels.m: event is no single value"),
        ({"m": "event.model.x"}, "labels.m: event.model.x is no single value"),
        ({"m": "content.prompt"}, "labels.m: content.prompt is no single value of an alert, or may hold text"),
        ({"m": "event.attributes"}, "labels.m: event.attributes is no single value"),
        ({"m": "features"}, "labels.m: features is no single value"),
        ({"m": "event..model"}, "no single value"),
        ({"a-b": "event.model"}, "String should match pattern"),
    ],
)
def test_bad_labels_are_refused(labels: dict[str, str], problem: str) -> None:
    with pytest.raises(ValidationError) as caught:
        AlertmanagerSinkConfig.model_validate({"labels": labels})
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    "path", ["event.model", "event.time", "event.origin.topic", "set.title", "detector", "trace_id"]
)
def test_single_values_may_become_labels(path: str) -> None:
    AlertmanagerSinkConfig.model_validate({"labels": {"x": path}})
