"""The figures of a run."""

from __future__ import annotations

from monitor.report.summary import Label, Outcome, summarize
from tests.report.alert_samples import make_alert

LABELS = {
    "a": Label("bias", "risky"),
    "b": Label("bias", "risky"),
    "c": Label("bias", "risky"),
    "d": Label("none", "look_alike"),
    "e": Label("none", "everyday"),
}


def test_outcomes_count_events_not_alerts() -> None:
    alerts = [
        make_alert(category="bias", event_id="a"),
        make_alert(category="deception", event_id="a"),
        make_alert(category="deception", event_id="b"),
        make_alert(category="bias", event_id="d"),
    ]
    assert summarize(alerts, labels=LABELS).outcomes == (
        Outcome("bias", benign=False, events=3, as_labelled=1, flagged=2),
        Outcome("everyday", benign=True, events=1, as_labelled=1, flagged=0),
        Outcome("look_alike", benign=True, events=1, as_labelled=0, flagged=1),
    )


def test_alerts_by_category_and_severity() -> None:
    alerts = [
        make_alert(category="bias", severity="low"),
        make_alert(category="bias", severity="critical"),
        make_alert(category="bias", severity="low"),
        make_alert(category="backdoors"),
    ]
    counts = summarize(alerts).by_category
    assert counts == {"backdoors": {"critical": 1}, "bias": {"critical": 1, "low": 2}}
    assert list(counts["bias"]) == ["critical", "low"]


def test_rates_are_known_only_with_a_duration() -> None:
    assert summarize([], events=30, tokens=900, seconds=3.0).events_per_second == 10
    assert summarize([], events=30, tokens=900, seconds=3.0).tokens_per_second == 300
    assert summarize([], events=30).events_per_second is None
    assert summarize([], events=30, seconds=0.0).events_per_second is None
