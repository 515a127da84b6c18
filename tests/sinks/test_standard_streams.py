"""Standard output and standard error as destinations."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from monitor.alerts.alert import Alert
from monitor.errors import BadEvent
from monitor.events.event import Origin, Record
from monitor.sinks.standard_streams import StderrDeadLetters, StdoutSink
from tests.alert_factory import make_alert

ROOT = Path(__file__).parents[2]


def test_alerts_go_to_standard_output_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    sink = StdoutSink()
    for name in "ab":
        sink.add(make_alert(name))
    sink.flush()
    sink.reset()
    sink.close()
    out, err = capsys.readouterr()
    assert [Alert.from_json(line).event.id for line in out.splitlines()] == ["a", "b"]
    assert err == ""


def test_complaints_are_cut_short_after_twenty(capsys: pytest.CaptureFixture[str]) -> None:
    letters = StderrDeadLetters()
    for number in range(1, 31):
        letters.add(Record(b"", Origin("in.jsonl", 0, number)), BadEvent("not JSON", "$.x"))
    letters.flush()
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 21
    assert lines[0] == "bad event: in.jsonl:1: $.x: not JSON"
    assert lines[-1] == "bad event: there are more; --bad FILE keeps all of them"


_CLOSED = """
from monitor.errors import Permanent
from monitor.sinks.standard_streams import StdoutSink
from tests.alert_factory import make_alert
import sys
sink = StdoutSink()
try:
    for _ in range(10_000):
        sink.add(make_alert())
        sink.flush()
except Permanent as e:
    sys.stderr.write(str(e))
    sys.stderr.flush()
    import os
    os._exit(0)
"""


def test_a_reader_that_went_away_is_permanent() -> None:
    command = [sys.executable, "-c", _CLOSED]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    message = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(30) == 0
    assert message == "standard output was closed"
