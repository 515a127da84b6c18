"""HealthServer over real sockets."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from monitor.config.sections import HealthConfig
from monitor.config.sinks import OtelConfig
from monitor.errors import ConfigError
from monitor.telemetry import health as module
from monitor.telemetry.health import Health, HealthServer
from monitor.telemetry.spans import Reading
from monitor.telemetry.telemetry import Telemetry
from tests.alert_factory import make_event


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Served:
    def __init__(self) -> None:
        self.clock = Clock()
        self.health = Health(10, clock=self.clock)
        self.registry = CollectorRegistry()
        Counter("things", "Things.", registry=self.registry).inc(3)
        self.server = HealthServer(HealthConfig(host="127.0.0.1", port=0), self.health, self.registry)

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[HTTPResponse, bytes]:
        connection = HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response, body

    def check(self, path: str) -> tuple[int, list[str]]:
        response, body = self.ask(path)
        assert response.headers["Content-Type"] == "application/json"
        found = json.loads(body)
        assert found["status"] == ("ok" if response.status == 200 else "failing")
        return response.status, found["reasons"]


@pytest.fixture
def served() -> Iterator[Served]:
    s = Served()
    with s.server:
        yield s


def test_live_while_the_loop_makes_progress(served: Served) -> None:
    assert served.check("/livez") == (200, [])
    served.clock.now = 10
    assert served.check("/livez") == (200, [])
    served.clock.now = 11
    assert served.check("/livez") == (503, ["no progress for 11 s"])
    served.health.progress()
    assert served.check("/livez") == (200, [])


def test_a_warning_is_shown_and_does_not_make_the_process_unready(served: Served) -> None:
    served.health.set_ready("consumer", True)
    served.health.set_warning("sink webhook", "HTTP 500")
    assert json.loads(served.ask("/readyz")[1]) == {
        "status": "ok",
        "reasons": [],
        "warnings": ["sink webhook: HTTP 500"],
    }
    served.health.set_warning("sink webhook")
    assert json.loads(served.ask("/readyz")[1]) == {"status": "ok", "reasons": []}


def test_ready_when_every_component_is(served: Served) -> None:
    assert served.check("/readyz") == (503, ["consumer: has not reported yet"])
    served.health.set_ready("consumer", False, "no partitions assigned")
    assert served.check("/readyz") == (503, ["consumer: no partitions assigned"])
    served.health.set_ready("consumer", True)
    assert served.check("/readyz") == (200, [])
    served.health.set_ready("otel", False)
    assert served.check("/readyz?verbose") == (503, ["otel: not ready"])


def test_metrics_in_both_formats(served: Served) -> None:
    response, body = served.ask("/metrics")
    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(body.decode())
    assert ("things_total", 3) in [(s.name, s.value) for f in families for s in f.samples]
    response, body = served.ask("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert response.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert body.endswith(b"# EOF\n")
    families = parse_openmetrics(body.decode())  # type: ignore[no-untyped-call]
    assert [f.name for f in families] == ["things"]


def test_telemetry_is_scraped_side_by_side() -> None:
    telemetry = Telemetry(OtelConfig(), "0.1.0", {})
    telemetry.processed(make_event(), (), 0.1, reading=Reading(5, 1, 0.1))
    served = Served()
    served.server.close()
    served.server = HealthServer(HealthConfig(host="127.0.0.1", port=0), served.health, telemetry.registry)
    bodies: list[bytes] = []
    with served.server:
        threads = [threading.Thread(target=lambda: bodies.append(served.ask("/metrics")[1])) for _ in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    assert [b.count(b"latentwatch_tokens_total 5.0\n") for b in bodies] == [1] * 8
    telemetry.shutdown()


def test_a_broken_collector_answers_500(served: Served) -> None:
    class Broken(Collector):
        def collect(self) -> Iterator[object]:  # type: ignore[override]
            raise ValueError("private")

    served.registry._collector_to_names[Broken()] = []
    response, body = served.ask("/metrics")
    assert response.status == 500
    assert json.loads(body)["reasons"] == ["ValueError"]


def test_only_get_and_head_and_only_three_paths(served: Served) -> None:
    assert served.ask("/")[0].status == 404
    assert served.ask("/livez/")[0].status == 404
    assert served.ask("/livez", "POST")[0].status == 501
    response, body = served.ask("/livez", "HEAD")
    assert (response.status, body) == (200, b"")
    assert "Python" not in response.headers["Server"]


def test_requests_are_bounded_in_size_time_and_number(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    assert served.ask("/" + "x" * 70_000)[0].status == 414
    assert served.ask("/livez", **{f"h{n}": "x" for n in range(120)})[0].status == 431
    monkeypatch.setattr(module, "_CONNECTION_S", 0.2)
    idle = [socket.create_connection(("127.0.0.1", served.server.port), 10) for _ in range(32)]
    late = socket.create_connection(("127.0.0.1", served.server.port), 10)
    assert late.recv(1) == b""  # over the limit: hung up on at once
    for client in idle:
        assert client.recv(1) == b""  # said nothing in time
        client.close()
    late.close()
    assert served.check("/livez") == (200, [])


def test_a_taken_port_is_a_config_error(served: Served) -> None:
    config = HealthConfig(host="127.0.0.1", port=served.server.port)
    with pytest.raises(
        ConfigError, match=rf"health\.port: cannot listen on 127\.0\.0\.1:{served.server.port}: .*in use"
    ):
        HealthServer(config, served.health, served.registry)
    with pytest.raises(ConfigError, match=r"health\.host: no\.such\.host\.invalid"):
        HealthServer(HealthConfig(host="no.such.host.invalid", port=0), served.health, served.registry)


def test_ipv6() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback address")
    with HealthServer(HealthConfig(host="::1", port=0), Health(10), CollectorRegistry()) as server:
        connection = HTTPConnection("::1", server.port, timeout=10)
        connection.request("GET", "/livez")
        assert connection.getresponse().status == 200
        connection.close()
