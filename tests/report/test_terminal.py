"""Flagged events on terminals of every kind."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console, Group

from monitor.alerts.alert import Alert
from monitor.report.flagged_event import flagged_events
from monitor.report.terminal import EventInFull, EventLines
from tests.report.alert_samples import make_alert, realistic_alerts


def console_of(out: io.StringIO, width: int, colour: bool) -> Console:
    return Console(
        file=out, width=width, force_terminal=colour, color_system="truecolor" if colour else None, _environ={}
    )


def lines(alerts: list[Alert], *, width: int = 80, colour: bool = False, limit: int = 100) -> str:
    out = io.StringIO()
    console_of(out, width, colour).print(EventLines(flagged_events(alerts), limit))
    return out.getvalue()


def in_full(alerts: list[Alert], *, width: int = 80, colour: bool = False) -> str:
    out = io.StringIO()
    console_of(out, width, colour).print(Group(*(EventInFull(event) for event in flagged_events(alerts))))
    return out.getvalue()


def test_one_line_names_severity_event_score_category_and_the_strongest_words() -> None:
    shown = lines([make_alert(score=0.944, threshold=0.71)])
    assert shown == "HIGH      chat-000117  0.94/0.71  unsafe code       …the input to [eval(] and…\n"


def test_alerts_of_several_sets_on_one_event_are_one_line_with_the_sets_most_severe_first() -> None:
    alerts = [
        make_alert(category="sycophancy", severity="low"),
        make_alert(category="backdoors", severity="critical", score=0.9, threshold=0.8),
    ]
    (line,) = lines(alerts).splitlines()
    assert line.startswith("CRITICAL  chat-000117  0.90/0.80  backdoors, sycophancy  ")


def test_events_beyond_the_limit_are_counted_by_severity() -> None:
    alerts = [make_alert(event_id=f"e{n}", severity="medium" if n % 2 else "low") for n in range(10)]
    shown = lines(alerts, limit=4).splitlines()
    assert len(shown) == 5
    assert shown[-1] == "and 6 more: 1 medium, 5 low"


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
@pytest.mark.parametrize("colour", [False, True])
def test_each_event_is_one_line_no_wider_than_the_terminal(width: int, colour: bool) -> None:
    wide = make_alert(
        "字" * 300 + " eval( " + "x" * 300, event_id="7c1d0b4e-93a5-4a55-8b3c-2f9d6f0d7e11" * 3, score=123456
    )
    alerts = [*realistic_alerts(), wide]
    shown = lines(alerts, width=width, colour=colour).splitlines()
    assert len(shown) == 6
    if not colour:
        assert max(map(cell_len, shown)) <= width
        assert max(map(cell_len, in_full(alerts, width=width).splitlines())) <= width


def test_an_event_in_full_has_every_set_the_users_turn_and_the_evidence() -> None:
    shown = in_full([make_alert(), make_alert(category="bias", score=0.8, threshold=0.7)])
    for part in (
        "HIGH  unsafe code  chat-000117  0.94/0.71 logistic; bias 0.80/0.70",
        "User: How do I run a formula that a user typed?",
        "[eval(]",
        "Features: code that runs text as a program (#3011) 50 %, shell",
    ):
        assert part in shown, part
    assert len(shown.splitlines()) <= 5


def test_features_without_a_name_are_one_sum() -> None:
    shown = in_full([make_alert(labels=("secret ways in",), unnamed=12)])
    assert "Features: secret ways in (#3011) 50 %; 12 unnamed features, 31 % of the score" in shown
    assert "1 unnamed feature, 31 % of the score" in in_full([make_alert(labels=(), unnamed=1)]).lower()


def test_strong_tokens_are_shaded_with_both_colours_given() -> None:
    shown = lines([make_alert("a eval( b", {"eval(": 1.0})], colour=True)
    assert "\x1b[38;2;28;26;23;48;2;240;124;12meval(\x1b[0m" in shown


def test_without_colour_strong_tokens_stand_in_brackets_and_no_control_character_is_printed() -> None:
    text = "a eval( b"
    shown = lines([make_alert(text, strengths=((0, 1, 0.2), (1, 6, 1.0), (6, 7, 0.6)))])
    assert "a [eval(] b" in shown
    everything = shown + in_full(realistic_alerts()) + lines(realistic_alerts())
    assert not [c for c in everything if ord(c) < 32 and c != "\n"]


def test_no_color_in_the_environment_gives_brackets() -> None:
    out = io.StringIO()
    console = Console(file=out, width=120, force_terminal=True, _environ={"NO_COLOR": "1", "TERM": "xterm-256color"})
    console.print(EventLines(flagged_events([make_alert("a eval( b", {"eval(": 1.0})]), 5))
    assert "[eval(]" in out.getvalue()


@pytest.mark.parametrize("colour", [False, True])
def test_hostile_text_does_not_reach_the_terminal(colour: bool) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\x9b31m \u202egnp.exe [bold red]markup[/bold red] [link=http://x]y[/link] eval("
    alert = make_alert(
        evil,
        category="a\x1bb",
        event_id="id\x1b[1m\u202e[red]x",
        labels=("label\x1b[5m [blink]",),
        prompt=evil,
        unit=evil,
    )
    shown = lines([alert], colour=colour, width=300) + in_full([alert], colour=colour, width=300)
    assert "]0;owned<U+0007>" in shown
    assert "[bold red]markup[/bold red]" in shown
    assert "\u202e" not in shown
    assert "\x9b" not in shown
    # the only escapes are our own colours and styles
    assert all(part[0] == "[" and "m" in part[:40] for part in shown.split("\x1b")[1:])
    assert "\x1b]" not in shown
    assert "\x1b[2J" not in shown


def test_the_line_shows_whole_words_around_the_strongest_token() -> None:
    shown = lines([make_alert("xylophones " * 90 + "eval( " + "yesterday " * 90, {"eval(": 1.0})])
    text = shown.split("unsafe code")[1].strip()
    assert text.startswith("…")
    assert text.endswith("…")
    assert set(text.strip("…").split()) <= {"xylophones", "[eval(]", "yesterday"}


def test_an_alert_without_text_says_so() -> None:
    assert "no text kept: response" in lines([make_alert(None)])
    assert "no text kept: response" in in_full([make_alert(None)])


def test_a_stream_that_is_not_utf8_gets_question_marks() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    long = make_alert("naïve 🔥\neval( " + "and more " * 30)
    Console(file=stream, width=100, _environ={}).print(EventLines(flagged_events([long]), 5))
    stream.flush()
    assert b"na?ve" in raw.getvalue()
    assert b"..." in raw.getvalue()
