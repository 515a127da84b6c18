"""The figures of a run."""

from __future__ import annotations

from monitor.report.summary import BenignResult, CategoryResult, Label, summarize
from tests.report.alert_samples import make_alert

LABELS = {
    "a": Label("bias", "risky"),
    "b": Label("bias", "risky"),
    "c": Label("bias", "risky"),
    "d": Label("none", "look_alike"),
    "e": Label("none", "everyday"),
    "f": Label("none", "everyday"),
}


def test_found_missed_and_falsely_flagged_count_events_not_alerts() -> None:
    alerts = [
        make_alert(category="bias", event_id="a"),
        make_alert(category="deception", event_id="a", severity="low"),
        make_alert(category="deception", event_id="b", severity="low"),
        make_alert(category="bias", event_id="d"),
        make_alert(category="deception", event_id="d", severity="low"),
        make_alert(category="bias", event_id="not labelled"),
    ]
    summary = summarize(alerts, labels=LABELS)
    assert summary.categories == (
        CategoryResult("bias", written=3, found=1, other_risky=0, false_alarms=1),
        CategoryResult("deception", written=0, found=0, other_risky=2, false_alarms=1),
    )
    assert [row.missed for row in summary.categories] == [2, 0]
    assert summary.benign == (BenignResult("everyday", 2, 0), BenignResult("look_alike", 1, 1))
    assert (summary.alerts, summary.flagged_events) == (6, 4)


def test_a_category_without_any_alert_still_has_its_row() -> None:
    (row,) = summarize([], labels=LABELS).categories
    assert (row.category, row.found, row.missed) == ("bias", 0, 3)


def test_without_labels_nothing_is_found_or_missed() -> None:
    summary = summarize([make_alert()])
    assert (summary.categories, summary.benign) == ((), ())


def test_alerts_by_category_and_severity_most_severe_first() -> None:
    alerts = [
        make_alert(category="bias", severity="low"),
        make_alert(category="bias", severity="high"),
        make_alert(category="bias", severity="low"),
        make_alert(category="deception", severity="high"),
        make_alert(category="deception", severity="high"),
        make_alert(category="backdoors", severity="critical"),
        make_alert(category="sycophancy", severity="low"),
    ]
    summary = summarize(alerts)
    assert {c: dict(counts) for c, counts in summary.by_category.items()} == {
        "backdoors": {"critical": 1},
        "deception": {"high": 2},
        "bias": {"high": 1, "low": 2},
        "sycophancy": {"low": 1},
    }
    assert list(summary.by_category) == ["backdoors", "deception", "bias", "sycophancy"]
    assert list(summary.by_category["bias"]) == ["high", "low"]
    assert list(summary.by_severity.items()) == [("critical", 1), ("high", 3), ("low", 3)]


def test_rates_are_known_only_with_a_duration() -> None:
    assert summarize([], events=30, tokens=900, seconds=3.0).events_per_second == 10
    assert summarize([], events=30, tokens=900, seconds=3.0).tokens_per_second == 300
    assert summarize([], events=30).events_per_second is None
    assert summarize([], events=30, seconds=0.0).events_per_second is None
