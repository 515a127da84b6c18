"""From a real model server to events and alerts: through LiteLLM and Kafka, and through the proxy and HTTP."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor.config.sections import KafkaConfig
from monitor.demo.broker import EmbeddedBroker
from monitor.events.event import Origin, Record
from monitor.events.parse import parse
from tests.brokers import free_ports
from tests.integration.litellm_calls import TRACEPARENT
from tests.integration.sidecar import READY_S, Sidecar, alerts_in, every_event_alerts
from tests.model_server import ModelServer
from tests.reader_model import ReaderModel
from tests.topics import new_topic, read

pytestmark = pytest.mark.model
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model_server(reader_model: ReaderModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    """`transformers serve` with the packaged model."""
    with ModelServer(reader_model.files.folder, tmp_path_factory.mktemp("server") / "log") as server:
        yield server


# ---- LiteLLM


CALLBACK = """
from monitor.config.sections import KafkaConfig
from monitor.producers.headers import HeaderNames
from monitor.producers.kafka import KafkaTransport
from monitor.producers.litellm import LatentwatchCallback
from monitor.producers.publisher import Publisher

kafka = KafkaConfig(bootstrap_servers={servers!r})
callback = LatentwatchCallback(Publisher(KafkaTransport(kafka, {topic!r})), HeaderNames(tenant="x-tenant"))
"""


@pytest.mark.kafka
def test_calls_through_litellm_arrive_on_kafka(
    model_server: ModelServer, embedded_broker: EmbeddedBroker, tmp_path: Path
) -> None:
    topic = new_topic(embedded_broker)
    servers = embedded_broker.bootstrap_servers
    (tmp_path / "latentwatch_callback.py").write_text(CALLBACK.format(servers=servers, topic=topic))
    command = [sys.executable, "-m", "tests.integration.litellm_calls", model_server.url, model_server.model]
    found = subprocess.run(
        [*command, str(tmp_path)],
        env=os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    answers = json.loads(found.stdout.splitlines()[-1])
    assert all(answers[:2])
    records = read(KafkaConfig(bootstrap_servers=servers), topic, 3)
    events = [
        event for r in records for event in parse(Record(r.value, Origin(topic, 0, r.offset), headers=tuple(r.headers)))
    ]
    assert [e.response for e in events] == answers
    assert {e.messages[0].content for e in events} == {"Say hello."}
    assert len({e.id for e in events}) == 3
    assert [e.traceparent for e in events] == [None, TRACEPARENT, None]
    assert events[1].attributes["tenant"] == "acme"
    assert not any(b"sk-secret" in r.value for r in records)


# ---- the proxy


@dataclass(frozen=True)
class Answer:
    """What a client got."""

    status: int
    headers: list[Any]
    body: bytes


def ask(url: str, model: str, **more: Any) -> Answer:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=120)
    body = {"model": model, "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 2, **more}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    found = Answer(
        answer.status, [h for h in answer.getheaders() if h[0] not in ("date", "x-request-id")], answer.read()
    )
    connection.close()
    return found


def without_ids(body: bytes) -> bytes:
    """What differs from call to call is taken out."""
    return re.sub(rb'"(id|created)": ?("[^"]*"|\d+)', b"", body)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """One config for the sidecar and the proxy."""
    intake, health = free_ports(2)
    sections = {
        "source": {"kind": "http"},
        "http": {"port": intake},
        "feature_sets": {"overrides": every_event_alerts()},
        "sinks": {"jsonl": {"enabled": True, "path": str(tmp_path / "alerts.jsonl")}},
        "health": {"host": "127.0.0.1", "port": health},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(sections))
    return path


def test_what_passes_through_the_proxy_is_judged(model_server: ModelServer, config: Path, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "monitor", "proxy", model_server.url, "-c", str(config), "--port", str(port)]
    log = tmp_path / "proxy.log"
    with Sidecar(config) as sidecar, log.open("wb") as out:
        with subprocess.Popen(command, stdout=out, stderr=out) as proxy:
            try:
                sidecar.wait_ready(READY_S)
                for more in ({"temperature": 0.0}, {"temperature": 0.0, "stream": True}):
                    direct = ask(model_server.url, model_server.model, **more)
                    passed = ask(f"http://127.0.0.1:{port}", model_server.model, **more)
                    assert (passed.status, passed.headers) == (200, direct.headers)
                    assert without_ids(passed.body) == without_ids(direct.body)
                sidecar.until(lambda: len({a.event.id for a in alerts_in(tmp_path / "alerts.jsonl")}) == 2, "alerts")
            finally:
                proxy.send_signal(signal.SIGTERM)
            assert proxy.wait(60) == 0
        assert sidecar.stop(60) == 0
    assert "stopped: 2 events published, 0 not" in log.read_text()
    assert sidecar.log.read_text().count("2 events read") == 1
    for alert in alerts_in(tmp_path / "alerts.jsonl"):
        assert alert.event.origin.topic == "http"
