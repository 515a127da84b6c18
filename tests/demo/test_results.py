"""What a demo prints fits on a few screens of a terminal with 80 columns, with colour and without."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from monitor.alerts.alert import Alert
from monitor.demo.files import DemoFiles
from monitor.demo.results import print_results
from monitor.demo.sample_events import demo_events
from monitor.report.summary import BENIGN, summarize
from tests.report.alert_samples import SETS, make_alert

FILES = DemoFiles(Path("/tmp/demo-output"))
PROGRESS_LINES = 8  # a warm start and reading, in a file


def sample_alerts(sets_per_event: int) -> list[Alert]:
    """An alert of each of several sets on every third event, with long texts."""
    return [
        make_alert(
            event.value.decode(), {"the": 0.3, "e ": 1.0}, category=category, event_id=event.id, prompt="why? " * 99
        )
        for event in demo_events()[::2]
        for category in list(SETS)[:sets_per_event]
    ]


def printed(alerts: list[Alert], *, colour: bool) -> str:
    out = io.StringIO()
    console = Console(
        file=out, width=80, force_terminal=colour, color_system="truecolor" if colour else None, _environ={}
    )
    labels = {event.id: event.label for event in demo_events()}
    summary = summarize(alerts, events=168, bad_events=0, tokens=33_978, seconds=101.5, lag=0, labels=labels)
    print_results(console, alerts, summary, FILES)
    return out.getvalue()


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("sets_per_event", [1, 2, 6])
def test_under_80_lines_of_80_columns(colour: bool, sets_per_event: int) -> None:
    shown = re.sub(r"\x1b\[[0-9;]*m", "", printed(sample_alerts(sets_per_event), colour=colour)).splitlines()
    assert 60 < len(shown) + PROGRESS_LINES < 80
    assert max(map(cell_len, shown)) <= 80


def test_without_colour_there_are_no_control_characters() -> None:
    assert not [c for c in printed(sample_alerts(2), colour=False) if ord(c) < 32 and c != "\n"]


def test_it_lists_three_in_full_counts_and_the_report() -> None:
    shown = printed(sample_alerts(2), colour=False)
    assert len(re.findall(r"^  User: why", shown, re.MULTILINE)) == 3
    labels = [event.label for event in demo_events()[::2]]
    written = sum(label.expected == "backdoors" for label in (e.label for e in demo_events()))
    found = sum(label.expected == "backdoors" for label in labels)
    benign = sum(label.expected == BENIGN for label in labels)
    (row,) = [line.split() for line in shown.splitlines() if line.startswith("backdoors  ")]
    assert row == [
        "backdoors",
        *map(str, (len(labels), written, found, written - found, len(labels) - found - benign, benign)),
    ]
    assert "Report: /tmp/demo-output/report.html\n" in shown


def test_no_alerts_say_so() -> None:
    shown = printed([], colour=False)
    assert "No alerts" in shown
    assert "Read 168 events" in shown
