"""OptionalSink: whatever becomes of its destination, the loop goes on, memory is bounded, and drops are counted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from monitor.alerts.alert import Alert
from monitor.config.sections import KafkaConfig
from monitor.config.sinks import OtelConfig, SinksConfig
from monitor.demo.free_port import free_port
from monitor.errors import Permanent, Retryable
from monitor.sinks import optional
from monitor.sinks.batch import Batch
from monitor.sinks.open import close_sinks, open_sinks
from monitor.sinks.optional import OptionalSink
from monitor.sinks.sink import SinkContext
from monitor.sinks.status import SinkStatus
from monitor.telemetry.health import Health
from monitor.telemetry.telemetry import Telemetry
from tests.alert_factory import make_alert, make_content
from tests.sinks.test_batch import Target


class Gate:
    """A destination that hangs until it is let go; `refused` says which alerts it never takes."""

    name = "gate"

    def __init__(self, refused: Callable[[Alert], bool] = lambda _: False) -> None:
        self.entered, self.go = threading.Event(), threading.Event()
        self._refused = refused
        self._pending: list[Alert] = []
        self.got: list[str] = []
        self.closed = False

    def add(self, alert: Alert) -> None:
        self._pending.append(alert)

    def flush(self) -> None:
        self.entered.set()
        self.go.wait(30)
        if any(self._refused(alert) for alert in self._pending):
            raise Permanent("HTTP 400")
        self.got += [alert.event.id for alert in self._pending]
        self._pending = []

    def reset(self) -> None:
        self._pending = []

    def close(self) -> None:
        self.closed = True


class Made:
    """An optional sink with what it reports to."""

    def __init__(self, target: Any, max_alerts: int = 1_000) -> None:
        self.telemetry = Telemetry(OtelConfig(), "0", {})
        self.health = Health(300, components=())
        self.status = SinkStatus(self.telemetry, self.health)
        self._name = target.name
        self.sink = OptionalSink(target, self.status, max_alerts)

    def count(self, what: str) -> float:
        name = f"latentwatch_sink_{what}_total"
        return self.telemetry.registry.get_sample_value(name, {"latentwatch_sink": self._name}) or 0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optional, "_FIRST_PAUSE_S", 0.01)


@pytest.fixture
def make() -> Iterator[Callable[..., Made]]:
    made: list[Made] = []

    def new(*args: Any) -> Made:
        made.append(Made(*args))
        return made[-1]

    yield new
    for one in made:
        one.sink.close()
        one.telemetry.shutdown()


def test_it_delivers_what_was_added_and_says_so(make: Callable[..., Made]) -> None:
    target = Target("webhook")
    made = make(target)
    for name in "ab":
        made.sink.add(make_alert(name))
    made.sink.flush()
    made.sink.close()
    assert [alert.event.id for alert in target.got] == ["a", "b"]
    assert (made.count("alerts"), made.count("failures"), made.count("dropped")) == (2, 0, 0)


def test_a_destination_that_hangs_holds_up_nothing(make: Callable[..., Made]) -> None:
    gate = Gate()
    made = make(gate)
    batch = Batch([made.sink], Target("letters"), [make_alert("a")], [], made.status)
    batch.deliver()  # would hang
    assert gate.entered.wait(30)
    assert made.count("alerts") == 0
    gate.go.set()
    made.sink.close()
    assert (gate.got, made.count("alerts"), gate.closed) == (["a"], 1, True)


def test_when_the_queue_is_full_the_oldest_are_dropped_and_counted(make: Callable[..., Made]) -> None:
    gate = Gate()
    made = make(gate, 3)
    made.sink.add(make_alert("in hand"))
    made.sink.flush()
    assert gate.entered.wait(30)
    for n in range(5):
        made.sink.add(make_alert(f"e{n}"))
    made.sink.flush()
    assert made.count("dropped") == 2
    gate.go.set()
    made.sink.close()
    assert gate.got == ["in hand", "e2", "e3", "e4"]


def test_the_text_in_the_queue_is_bounded(make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch) -> None:
    content = make_content()
    monkeypatch.setattr(optional, "_MAX_TEXT_CHARS", 2 * (len(content.prompt) + len(content.text)))
    gate = Gate()
    made = make(gate)
    for n in range(4):
        made.sink.add(make_alert(f"e{n}", content=content))
    assert made.count("dropped") == 2
    gate.go.set()
    made.sink.flush()
    made.sink.close()
    assert gate.got == ["e2", "e3"]


def test_a_failure_is_retried_counted_and_a_warning_until_it_works(make: Callable[..., Made]) -> None:
    down = Retryable("no answer in time", 0)
    target = Target("webhook", flush=(down, down, down))
    made = make(target)
    seen: list[list[str]] = []
    reset = target.reset
    target.reset = lambda: (seen.append(made.health.warnings()), reset())[1]  # type: ignore[method-assign]
    made.sink.add(make_alert("a"))
    made.sink.flush()
    while not target.got:
        threading.Event().wait(0.01)
    made.sink.close()
    assert seen == [["sink webhook: no answer in time"]] * 3
    assert (made.health.ready(), made.health.warnings()) == ([], [])
    assert (made.count("failures"), made.count("alerts"), made.count("dropped")) == (3, 1, 0)


def test_an_alert_that_is_refused_for_good_is_dropped_alone(make: Callable[..., Made]) -> None:
    gate = Gate(refused=lambda alert: alert.event.id == "e1")
    gate.go.set()
    made = make(gate)
    for n in range(4):
        made.sink.add(make_alert(f"e{n}"))
    made.sink.flush()
    made.sink.close()
    assert (gate.got, made.count("dropped")) == (["e0", "e2", "e3"], 1)


def test_a_bug_in_a_sink_drops_alerts_and_leaves_the_thread_alive(make: Callable[..., Made]) -> None:
    target = Target("plugin", add=(RuntimeError("text of an event"),) * 2)
    made = make(target)
    made.sink.add(make_alert("a"))
    made.sink.flush()
    while not made.count("dropped"):
        threading.Event().wait(0.01)
    assert made.health.warnings() == ["sink plugin: RuntimeError"]  # not what it says
    made.sink.add(make_alert("b"))
    made.sink.flush()
    made.sink.close()
    assert [alert.event.id for alert in target.got] == []
    assert made.count("dropped") == 2


def test_at_the_end_a_dead_destination_gets_one_more_attempt_and_the_rest_is_counted(
    make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optional, "_FIRST_PAUSE_S", 1_000)
    monkeypatch.setattr(optional, "_LONGEST_PAUSE_S", 1_000)
    target = Target("webhook", flush=(Retryable("down", 0),) * 9)
    made = make(target)
    for n in range(250):
        made.sink.add(make_alert(f"e{n}"))
    made.sink.flush()
    while not made.count("failures"):
        threading.Event().wait(0.01)
    made.sink.close()
    assert (made.count("failures"), made.count("dropped"), target.got) == (2, 250, [])


def test_at_the_end_a_destination_that_hangs_is_left_behind(
    make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optional, "_CLOSE_S", 0.05)
    gate = Gate()
    made = make(gate)
    made.sink.add(make_alert("a"))
    made.sink.flush()
    assert gate.entered.wait(30)
    made.sink.close()  # would hang
    assert (made.count("dropped"), gate.closed) == (1, False)
    gate.go.set()


@pytest.mark.parametrize("required", [True, False])
def test_the_config_decides_what_a_sink_may_hold_up(required: bool) -> None:
    otel = {"enabled": True, "required": required, "endpoint": f"http://127.0.0.1:{free_port()}", "timeout_s": 0.2}
    config = SinksConfig.model_validate({"kafka": {"enabled": False}, "otel": otel})
    telemetry, health = Telemetry(config.otel, "0", {}), Health(300, components=())
    status = SinkStatus(telemetry, health)
    (sink,) = sinks = open_sinks(config, SinkContext(KafkaConfig(), telemetry), status)
    batch = Batch(sinks, Target("letters"), [make_alert()], [], status)
    if required:
        with pytest.raises(Retryable, match="Connection refused"):
            batch.deliver()
        assert health.ready() == ["sink otel: sinks.otel: 1 alerts not delivered: Connection refused"]
    else:
        batch.deliver()
    close_sinks(sinks)
    value = telemetry.registry.get_sample_value
    dropped = [
        value("latentwatch_sink_dropped_total", {"latentwatch_sink": "otel"}),
        value("latentwatch_export_dropped_total", {"latentwatch_signal": "logs"}),
    ]
    assert dropped == ([None, 0] if required else [1, 1])
    assert isinstance(sink, OptionalSink) is not required
    telemetry.shutdown()
