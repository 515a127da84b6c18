"""The figures of a run on a terminal."""

from __future__ import annotations

import io

from rich.console import Console

from monitor.report.summary import Label, Summary, summarize
from monitor.report.terminal_summary import SummaryTable
from tests.report.alert_samples import SETS, make_alert


def printed(summary: Summary, width: int = 80) -> str:
    out = io.StringIO()
    Console(file=out, width=width, _environ={}).print(SummaryTable(summary))
    return out.getvalue()


def test_it_says_what_was_found_missed_and_falsely_flagged() -> None:
    labels = {
        "chat-000117": Label("unsafe_code", "risky"),
        "y": Label("unsafe_code", "risky"),
        "x": Label("none", "look_alike"),
    }
    alerts = [make_alert(), make_alert(category="bias", event_id="x")]
    shown = printed(summarize(alerts, events=2, bad_events=0, tokens=4200, seconds=2.0, lag=0, labels=labels))
    rows = [line.split() for line in shown.splitlines()]
    assert ["unsafe", "code", "1", "2", "1", "1", "0", "0"] in rows
    assert ["bias", "1", "0", "0", "0", "0", "1"] in rows
    for part in (
        "Benign events flagged: 1 of 1 look alike.",
        "2 alerts on 2 events: 1 high, 1 medium.",
        "Read 2 events, 4,200 tokens in 2.0 s, 2,100 tokens/s, 0 bad events, 0 lag.",
    ):
        assert part in shown, part


def test_the_table_fits_in_80_columns() -> None:
    labels = {f"{c}{n}": Label(c, "risky") for c in SETS for n in range(1000)}
    alerts = [make_alert(category=c, event_id=e) for e in list(labels)[:300] for c in SETS]
    assert max(map(len, printed(summarize(alerts, labels=labels)).splitlines())) <= 80


def test_without_labels_it_counts_alerts() -> None:
    shown = printed(summarize([make_alert()]))
    assert "missed" not in shown
    assert "1 alert on 1 event: 1 high." in shown
    assert printed(summarize([])) == "0 alerts on 0 events.\n"
