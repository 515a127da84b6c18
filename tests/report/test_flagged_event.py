"""Alerts of one event belong together, most severe first."""

from __future__ import annotations

from monitor.report.flagged_event import flagged_events, most_severe_of_each_category
from tests.report.alert_samples import make_alert


def test_the_alerts_of_one_event_are_one_entry_most_severe_first() -> None:
    alerts = [
        make_alert(category="sycophancy", event_id="a", severity="low", score=0.99),
        make_alert(category="bias", event_id="b", severity="medium"),
        make_alert(category="deception", event_id="a", severity="high"),
        make_alert(category="backdoors", event_id="a", severity="high", score=0.95),
    ]
    events = flagged_events(alerts)
    assert [event.id for event in events] == ["a", "b"]
    assert events[0].categories == ("backdoors", "deception", "sycophancy")
    assert events[0].severity == "high"
    assert sum(len(event.alerts) for event in events) == 4


def test_within_a_severity_the_furthest_above_its_threshold_comes_first() -> None:
    alerts = [
        make_alert(event_id="logistic", severity="high", score=0.9, threshold=0.6),
        make_alert(event_id="activation", severity="high", score=4.0, threshold=2.0, unit="activation"),
        make_alert(event_id="just", severity="high", score=9.1, threshold=9.0, unit="activation"),
    ]
    assert [event.id for event in flagged_events(alerts)] == ["activation", "logistic", "just"]


def test_the_most_severe_of_each_category() -> None:
    events = flagged_events(
        [
            *(make_alert(category="bias", event_id=f"bias{n}", score=0.8 + n / 100) for n in range(3)),
            *(make_alert(category="deception", event_id=f"deception{n}", score=0.7 + n / 100) for n in range(3)),
        ]
    )
    assert [event.id for event in most_severe_of_each_category(events, 2)] == ["bias2", "deception2"]
    assert [event.id for event in most_severe_of_each_category(events, 3)] == ["bias2", "deception2", "bias1"]
    assert len(most_severe_of_each_category(events[:1], 3)) == 1
