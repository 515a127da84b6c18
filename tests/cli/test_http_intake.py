"""The HTTP intake and the pipeline together: delivered, refused late, drained at the end, or lost and said so."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from monitor.cli.shutdown import closing_all
from monitor.cli.wiring import make_delivery, open_intake
from monitor.config.sections import Config
from monitor.config.sinks import OtelConfig
from monitor.engine import Evaluation
from monitor.events.event import Event
from monitor.pipeline import Pipeline, Totals
from monitor.sinks.jsonl import JsonlSink
from monitor.sources.http import HttpSource
from monitor.telemetry.health import Health
from monitor.telemetry.telemetry import Telemetry
from tests.sources.http_caller import JSON, Answer, ask
from tests.test_pipeline import SmallEngine


class Running:
    """A pipeline behind the HTTP intake, in a thread."""

    def __init__(self, folder: Path, engine: Any, **http: Any) -> None:
        jsonl = {"enabled": True, "path": str(folder / "alerts.jsonl")}
        sections = {"source": {"kind": "http"}, "http": {"port": 0, **http}, "sinks": {"jsonl": jsonl}}
        config = Config.model_validate(sections)
        self.telemetry = Telemetry(OtelConfig(), "0", {})
        self.stop = threading.Event()
        self.totals = Totals()
        self._folder = folder
        self._exit = contextlib.ExitStack()
        opened = self._exit.enter_context(closing_all())
        opened.append(self.telemetry.shutdown)
        sink = JsonlSink(folder / "alerts.jsonl")
        opened.append(sink.close)
        intake = open_intake(config, self.telemetry, self.stop, opened)
        assert isinstance(intake.source, HttpSource)
        self.port = intake.source.port
        delivery = make_delivery(config, [sink], intake.dead_letters)
        self._pipeline = Pipeline(intake.source, engine, delivery, self.telemetry, Health(300), intake.stop)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self.totals = self._pipeline.run()

    def post(self, *responses: str, **headers: str) -> Answer:
        body = json.dumps([{"id": f"e{n}", "response": text} for n, text in enumerate(responses)])
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            return ask(connection, body, headers=JSON | headers)

    def alerts(self) -> list[str]:
        lines = (self._folder / "alerts.jsonl").read_text().splitlines()
        return [json.loads(line)["event"]["id"] for line in lines]

    def metric(self, name: str, **labels: str) -> float | None:
        return self.telemetry.registry.get_sample_value(name, labels)

    def end(self) -> None:
        self.stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def close(self) -> None:
        self.end()
        self._exit.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def make(engine: Any = None, **http: Any) -> Running:
        started.append(Running(tmp_path, engine or SmallEngine(), **http))
        return started[-1]

    yield make
    for running in started:
        running.close()


class GatedEngine(SmallEngine):
    """Evaluates nothing before the gate is opened."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.gate = threading.Event()

    def evaluate(self, events: Sequence[Event], on_group: Callable[[], None] = lambda: None) -> Iterator[Evaluation]:
        self.began.set()
        assert self.gate.wait(60)
        return super().evaluate(events, on_group)


def test_an_answer_that_waits_comes_after_the_alert_is_on_disk(start: Callable[..., Running]) -> None:
    running = start()
    answer = running.post("fine", "alert", Prefer="wait")
    assert (answer.status, answer.body) == (200, {"status": "delivered", "ids": ["e0", "e1"]})
    assert running.alerts() == ["e1"]
    assert running.metric("latentwatch_intake_accepted_total") == 1


def test_what_the_reader_refuses_is_told_counted_and_kept(start: Callable[..., Running], tmp_path: Path) -> None:
    running = start(bad_events_path=str(tmp_path / "bad.jsonl"))
    answer = running.post("too long", Prefer="wait")
    assert (answer.status, answer.body["error"]) == (422, "$: 9 tokens, over events.max_tokens = 8")
    running.end()
    (bad,) = (tmp_path / "bad.jsonl").read_text().splitlines()
    assert json.loads(bad)["reason"] == "9 tokens, over events.max_tokens = 8"
    assert json.loads(bad)["topic"] == "http"
    assert running.metric("latentwatch_events_dead_lettered_total", error_type="size") == 1
    assert running.totals.bad == 1


def test_without_a_file_what_the_reader_refuses_is_counted(start: Callable[..., Running]) -> None:
    running = start()
    assert running.post("too long", Prefer="wait").status == 422
    running.end()
    assert running.metric("latentwatch_events_dead_lettered_total", error_type="size") == 1


def test_a_stop_delivers_what_was_accepted(start: Callable[..., Running]) -> None:
    engine = GatedEngine()
    running = start(engine)
    assert running.post("alert").status == 202
    assert engine.began.wait(60)
    assert running.post("alert").status == 202  # waits behind the batch in work
    running.stop.set()
    while running.post("alert").status != 503:
        pass
    engine.gate.set()
    running.end()
    held = running.totals.events
    assert held >= 2
    assert len(running.alerts()) == held == running.metric("latentwatch_intake_accepted_total")


def test_what_is_not_delivered_in_time_is_lost_and_the_log_says_so(
    start: Callable[..., Running], caplog: pytest.LogCaptureFixture
) -> None:
    engine = GatedEngine()
    running = start(engine, drain_s=0.01)
    running.post("alert")
    assert engine.began.wait(60)
    running.post("alert")
    threading.Timer(1.0, engine.gate.set).start()
    running.close()
    assert running.alerts() == ["e0"]
    assert "1 requests were accepted and not delivered; they are lost" in caplog.text
