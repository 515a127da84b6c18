"""A slow start, seen through the health port."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest
from prometheus_client import CollectorRegistry

from monitor.config.sections import HealthConfig
from monitor.telemetry.health import Health, HealthServer
from monitor.telemetry.loading import Loading

STALLED_AFTER_S = 10


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class SlowStart:
    """A loader in its own thread, which stays in each step until it is told to go on, and the port next to it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.health = Health(STALLED_AFTER_S, clock=self.clock)
        self._loading = Loading(self.health, 3)
        self._loading.step("finding the model")
        self._server = HealthServer(HealthConfig(host="127.0.0.1", port=0), self.health, CollectorRegistry())
        self._go_on: queue.Queue[None] = queue.Queue()
        self._arrived: queue.Queue[None] = queue.Queue()
        self._thread = threading.Thread(target=self._load, daemon=True)
        self._thread.start()

    def _load(self) -> None:
        for report in (
            lambda: self._loading.step("compiling the reader"),
            lambda: self._loading.detail("quantising the weights"),
            lambda: self._loading.step("opening the sinks"),
            self._loading.done,
        ):
            self._go_on.get()
            report()
            self._arrived.put(None)

    def go_on(self) -> None:
        self._go_on.put(None)
        self._arrived.get(timeout=30)

    def check(self, path: str) -> tuple[int, list[str]]:
        connection = HTTPConnection("127.0.0.1", self._server.port, timeout=10)
        connection.request("GET", path)
        response = connection.getresponse()
        body = json.loads(response.read())
        connection.close()
        return response.status, body["reasons"]

    def close(self) -> None:
        self._server.close()


@pytest.fixture
def start() -> Iterator[SlowStart]:
    slow = SlowStart()
    yield slow
    slow.close()


def test_readyz_says_which_step_of_how_many_is_loading(start: SlowStart) -> None:
    assert start.check("/readyz") == (503, ["loading (1 of 3: finding the model)"])
    start.go_on()
    assert start.check("/readyz") == (503, ["loading (2 of 3: compiling the reader)"])
    start.go_on()
    assert start.check("/readyz") == (503, ["loading (2 of 3: quantising the weights)"])
    start.go_on()
    assert start.check("/readyz") == (503, ["loading (3 of 3: opening the sinks)"])
    start.go_on()
    assert start.check("/readyz") == (503, ["consumer: has not reported yet"])
    start.health.set_ready("consumer", True)
    assert start.check("/readyz") == (200, [])


def test_livez_holds_however_long_a_step_of_loading_takes(start: SlowStart) -> None:
    for _ in range(3):
        start.clock.now += 100 * STALLED_AFTER_S
        assert start.check("/livez") == (200, [])
        start.go_on()


def test_after_loading_livez_asks_for_progress_again(start: SlowStart) -> None:
    for _ in range(4):
        start.clock.now += 100 * STALLED_AFTER_S
        start.go_on()
    assert start.check("/livez") == (200, [])  # the loop gets its whole time, counted from the end of loading
    start.clock.now += STALLED_AFTER_S + 1
    assert start.check("/livez") == (503, ["no progress for 11 s"])
