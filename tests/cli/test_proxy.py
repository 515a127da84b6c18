"""`latentwatch proxy`: what is wrong is said before it listens, and what passes is published where the config reads."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from typer.testing import CliRunner

from monitor.cli.app import app
from monitor.cli.wiring import make_publisher
from monitor.config.sections import Config
from tests.producers.asgi_server import AsgiServer
from tests.producers.test_middleware import ANSWER, JSON_HEADERS, REQUEST, answering
from tests.sources.test_http import Intake


def problem(*arguments: str) -> str:
    found = CliRunner().invoke(app, ["proxy", *arguments])
    assert found.exception is not None
    return str(found.exception)


def test_what_is_wrong_is_said_at_once() -> None:
    assert problem("localhost:8000").startswith("localhost:8000: expected the URL of a server")
    told = problem("http://127.0.0.1:1", "--tenant-header", "Authorization")
    assert told == "the header Authorization holds credentials, which are never published"
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        told = problem("http://127.0.0.1:1", "--port", str(port))
    assert told == f"--host, --port: cannot listen on 127.0.0.1:{port}: Address already in use"


def test_without_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    monkeypatch.delitem(sys.modules, "monitor.producers.forward", raising=False)
    assert problem("http://127.0.0.1:1") == "latentwatch proxy needs: pip install 'latentwatch[http]'"


@pytest.mark.parametrize(
    ("sections", "where"),
    [
        ({}, "topic llm.events"),
        ({"source": {"kind": "http"}}, "127.0.0.1:9465/v1/events"),
        ({"source": {"kind": "http"}, "http": {"socket": "/tmp/e.sock"}}, "unix:/tmp/e.sock/v1/events"),
    ],
)
def test_events_go_to_where_the_sidecar_of_the_config_reads(sections: dict[str, Any], where: str) -> None:
    config = Config.model_validate({"sinks": {"jsonl": {"enabled": True}}, **sections})
    publisher, found = make_publisher(config)
    publisher.close()
    assert found == where


def test_a_request_passes_and_a_stop_publishes_what_waits(tmp_path: Path) -> None:
    intake = Intake()
    config = {
        "source": {"kind": "http"},
        "http": {"port": intake.source.port},
        "sinks": {"jsonl": {"enabled": True}},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    body = json.dumps(ANSWER).encode()
    with AsgiServer(answering(body, headers=JSON_HEADERS)) as server:
        command = [sys.executable, "-m", "monitor", "proxy", server.url, "-c", str(path), "--port", "0"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as proxy:
            assert proxy.stderr is not None
            started = proxy.stderr.readline()
            assert f"events go to 127.0.0.1:{intake.source.port}/v1/events" in started
            url = started.split(" from ")[1].split(";")[0]
            answer = requests.post(f"http://{url}/v1/chat/completions", json=REQUEST, timeout=60)
            assert answer.content == body
            proxy.send_signal(signal.SIGTERM)
            _, rest = proxy.communicate(timeout=60)
    assert proxy.returncode == 0
    assert "SIGTERM: finishing requests under way" in rest
    assert "stopped: 1 events published, 0 not" in rest
    assert [place.lag for place in intake.source.positions() or ()] == [1]
    intake.close()
