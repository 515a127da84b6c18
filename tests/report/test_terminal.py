"""Alerts on terminals of every kind."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from monitor.alerts.alert import Alert
from monitor.report.summary import Label, summarize
from monitor.report.terminal import alert_table, summary_tables
from tests.report.alert_samples import make_alert, realistic_alerts


def printed(alerts: list[Alert], width: int = 120, colour: bool = False, **table: int) -> str:
    out = io.StringIO()
    Console(
        file=out, width=width, force_terminal=colour, color_system="truecolor" if colour else None, _environ={}
    ).print(alert_table(alerts, **table))
    return out.getvalue()


def test_an_alert_names_severity_category_event_score_and_features() -> None:
    shown = printed([make_alert(score=0.944, threshold=0.71)])
    for part in ("HIGH", "unsafe code", "chat-000117", "0.94 / 0.71 logistic", "feature active", "#3011", "7.25"):
        assert part in shown
    assert "model did" not in shown


def test_strong_tokens_are_shaded_with_both_colours_given() -> None:
    shown = printed([make_alert("a eval( b", {"eval(": 1.0})], colour=True)
    assert "\x1b[38;2;28;26;23;48;2;240;124;12meval(\x1b[0m" in shown


def test_without_colour_strong_tokens_stand_in_brackets() -> None:
    text = "a eval( b"
    shown = printed([make_alert(text, strengths=((0, 2, 0.2), (2, 6, 1.0), (6, 7, 0.6)))])
    assert "a [eval(] b" in shown
    assert "\x1b" not in shown


def test_no_color_in_the_environment_gives_brackets() -> None:
    out = io.StringIO()
    console = Console(file=out, width=120, force_terminal=True, _environ={"NO_COLOR": "1", "TERM": "xterm-256color"})
    console.print(alert_table([make_alert("a eval( b", {"eval(": 1.0})]))
    assert "[eval(]" in out.getvalue()


@pytest.mark.parametrize("colour", [False, True])
def test_hostile_text_does_not_reach_the_terminal(colour: bool) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\x9b31m \u202egnp.exe [bold red]markup[/bold red] [link=http://x]y[/link] eval("
    alert = make_alert(evil, category="a\x1bb", event_id="id\x1b[1m\u202e[red]x", labels=("label\x1b[5m [blink]",))
    shown = printed([alert], colour=colour, width=200)
    assert "]0;owned<U+0007>" in shown
    assert "[bold red]markup[/bold red]" in shown
    assert "\u202e" not in shown
    assert "\x9b" not in shown
    # the only escapes are colours and styles of our own
    assert all(part[0] == "[" and "m" in part[:40] for part in shown.split("\x1b")[1:])
    assert "\x1b]" not in shown
    assert "\x1b[2J" not in shown


def test_a_long_text_is_cut_around_its_strongest_tokens() -> None:
    shown = printed([make_alert("x " * 900 + "eval( " + "y " * 900, {"eval(": 1.0})], text_chars=60)
    assert "..." in shown
    assert "[eval(]" in shown
    assert len(shown) < 2_000


@pytest.mark.parametrize("width", [40, 60, 84, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    console = Console(width=width)
    for line in printed(realistic_alerts(), width=width).splitlines():
        assert len(line) <= width or console.measure(line).maximum <= width, line


def test_content_off_and_no_alerts_say_so() -> None:
    assert "content capture is off" in printed([make_alert(None)])
    assert "No alerts." in printed([])


def test_a_stream_that_is_not_utf8_gets_question_marks() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    Console(file=stream, width=100, _environ={}).print(alert_table([make_alert("naïve 🔥\neval(")]))
    stream.flush()
    assert b"na?ve" in raw.getvalue()


def test_the_summary_tells_misses_and_false_positives() -> None:
    labels = {"chat-000117": Label("unsafe_code", "risky"), "x": Label("none", "look_alike")}
    out = io.StringIO()
    summary = summarize([make_alert()], events=2, bad_events=0, tokens=4200, seconds=2.0, lag=0, labels=labels)
    Console(file=out, width=100).print(summary_tables(summary))
    for part in ("unsafe code", "look alike (benign)", "1.0 events/s", "2,100 tokens/s", "0 lag"):
        assert part in out.getvalue()
