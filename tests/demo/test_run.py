"""The demo against a real broker and a stand-in sidecar: its exit code, its files, its clean-up."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
import yaml
from rich.console import Console

from monitor.config.load import load_config
from monitor.demo.broker import EmbeddedBroker
from monitor.demo.run import DemoTimeouts, demo_config, run_demo
from monitor.demo.sample_events import demo_events
from monitor.events.event import Origin, Record
from monitor.events.parse import parse
from monitor.report.summary import BENIGN
from tests.report.alert_samples import SETS

pytestmark = pytest.mark.kafka


def demo(folder: Path, fault: str, timeouts: DemoTimeouts | None = None) -> tuple[int, str]:
    """Exit code and output of a demo over the first events."""
    out = io.StringIO()
    code = run_demo(
        folder,
        Console(file=out, width=100),
        EmbeddedBroker(),
        events=demo_events()[:40],
        sidecar_command=(sys.executable, "-m", "tests.demo.fake_sidecar", fault),
        timeouts=timeouts,
    )
    return code, out.getvalue()


def children() -> set[int]:
    return {process.pid for process in psutil.Process().children(recursive=True)}


@pytest.fixture
def already_there() -> set[int]:
    """Brokers and the like that other tests of the session keep running."""
    return children()


def test_the_bundled_events_are_valid_and_labelled() -> None:
    events = demo_events()
    assert len(events) >= 120
    assert len({e.id for e in events}) == len(events)
    expected = Counter(e.label.expected for e in events)
    assert set(expected) == {BENIGN, *SETS}
    assert min(expected.values()) >= 5
    for event in events:
        (parsed,) = parse(Record(event.value, Origin("llm.events", 0, 0)))
        assert parsed.id == event.id
        assert parsed.response


def test_the_config_is_valid_and_says_where_alerts_go(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(demo_config("127.0.0.1:9", tmp_path / "alerts.jsonl", 9464)))
    config = load_config(path, {})
    assert config.alerts.capture_content
    assert config.sinks.kafka.enabled
    assert config.sinks.jsonl.path == tmp_path / "alerts.jsonl"


def test_a_demo_that_goes_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # without the filter, this would send the sidecar to somebody's real topic
    monkeypatch.setenv("LATENTWATCH__SOURCE__TOPIC", "production")
    (tmp_path / "alerts.jsonl").write_text("left by an earlier demo\n")
    code, shown = demo(tmp_path, "none")
    assert code == 0, shown
    risky = [e for e in demo_events()[:40] if e.label.expected != BENIGN]
    alerts = (tmp_path / "alerts.jsonl").read_text().splitlines()
    assert {json.loads(a)["event"]["id"] for a in alerts} == {e.id for e in risky}
    for part in (
        "  0 s  loading the model and the feature sets",
        "  0 s  events read: ",
        f"{len(risky)} alerts on {len(risky)} events",
        "Read 40 events",
        "0 bad events, 0 lag",
        "look alike",
        f"Report: {tmp_path / 'report.html'}",
    ):
        assert part in shown, part
    assert not [c for c in shown if ord(c) < 32 and c != "\n"]
    assert len(shown.splitlines()) < 80
    assert "Labelled events" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("die", "exited by itself with code 7"),
        ("stuck", "0 of 40 events committed, then none for 8 s"),
        ("lose", "alerts differ: 1 only in the file, 0 only on the topic"),
        ("exit", "exited with code 3"),
        ("unready", "not ready within 8 s"),
    ],
)
def test_a_demo_that_fails_says_why_and_shows_the_log(
    tmp_path: Path, fault: str, reason: str, already_there: set[int]
) -> None:
    # a busy machine may take long to start a process
    code, shown = demo(tmp_path, fault, DemoTimeouts(ready=8 if fault == "unready" else 60, stall=8))
    assert code == 1
    assert reason in shown
    assert "fake sidecar says: <U+001B>[31mhello" in shown
    assert not children() - already_there


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing_running(
    tmp_path: Path, number: signal.Signals, already_there: set[int]
) -> None:
    # a shell starts what runs in the background with SIGINT ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        timer = threading.Timer(6, os.kill, (os.getpid(), number))
        timer.start()
        code, shown = demo(tmp_path, "stuck")
        timer.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert code == 130, shown
    assert "Interrupted" in shown
    assert not children() - already_there


def test_without_a_broker_the_reason_is_told(tmp_path: Path) -> None:
    started = time.monotonic()
    process = subprocess.run(
        [sys.executable, "-c", _NO_BROKER, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert process.returncode == 1, process.stderr
    assert "Failed: the embedded broker is not installed" in process.stdout
    assert time.monotonic() - started < 60


_NO_BROKER = """
import sys, contextlib, pathlib
from rich.console import Console
from monitor.demo.run import run_demo
from monitor.errors import ConfigError

@contextlib.contextmanager
def broker():
    raise ConfigError("the embedded broker is not installed")
    yield

sys.exit(run_demo(pathlib.Path(sys.argv[1]), Console(), broker()))
"""
