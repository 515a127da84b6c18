"""Verdicts: where an alert stands, the trail, agreement, precision, thresholds, the queue and the export."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import yaml
from sqlalchemy import Engine

from detectors.feature_set import SetOverride
from monitor.alerts.alert import Alert
from monitor.config.load import load_config
from monitor.lab.data.rows import load_benign, load_rows
from monitor.review.export import exportable, labelled_rows
from monitor.review.filters import Filters
from monitor.review.listing import page
from monitor.review.precision import agreement, by_set, by_week, wilson
from monitor.review.proposal import ConfigFile, proposal
from monitor.review.queue import queue
from monitor.review.verdicts import Verdict, assign, give_verdict, standing, trail, verdicts_on, withdraw_verdict
from monitor.review.what_if import asked_threshold, slider, what_if
from tests.review.stored_alerts import judge, number_of, numbered, store


def stands(engine: Engine, found: Alert) -> str | None:
    """Where an alert stands in the list."""
    for name in ("true_positive", "false_positive", "unsure", "disputed"):
        if found.id in in_group(engine, verdict=name):
            return name
    return None


def in_group(engine: Engine, **filters: str) -> list[str]:
    """Ids of the alerts of the first group."""
    return [line.alert.id for line in page(engine, Filters.of({"group": "1", **filters})).lines]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([], None),
        (["unsure"], "unsure"),
        (["unsure", "true_positive"], "true_positive"),
        (["false_positive", "false_positive"], "false_positive"),
        (["false_positive", "true_positive", "unsure"], "disputed"),
    ],
)
def test_an_alert_stands_where_those_who_are_sure_agree(said: list[str], expected: str | None) -> None:
    assert standing(said) == expected


def test_a_later_verdict_replaces_the_earlier_one_and_the_trail_keeps_both(engine: Engine) -> None:
    found = numbered(1)
    store(engine, [found])
    judge(engine, found, "true_positive", note="clear", time_us=1)
    judge(engine, found, "false_positive", category="bias", time_us=2)
    judge(engine, found, "true_positive", "grace", time_us=3)
    assert stands(engine, found) == "disputed"
    number = number_of(engine, found)
    withdraw_verdict(engine, number, "grace", 4)
    withdraw_verdict(engine, number, "grace", 5)
    assign(engine, number, "grace", "ada", 6)
    assign(engine, number, "grace", "ada", 7)
    assert stands(engine, found) == "false_positive"
    with engine.connect() as connection:
        (said,) = verdicts_on(connection, number)
        changes = trail(connection, found.id)
    assert (said.reviewer, said.verdict, said.category, said.note) == ("ada", "false_positive", "bias", "")
    assert [(c.time_us, c.who, c.action) for c in changes] == [
        (6, "ada", "assign"),
        (4, "grace", "withdraw"),
        (3, "grace", "verdict"),
        (2, "ada", "verdict"),
        (1, "ada", "verdict"),
    ]
    assert changes[3].before is not None
    assert json.loads(changes[3].before) == {"verdict": "true_positive", "category": None, "note": "clear"}


def test_wilsons_interval_is_the_published_one() -> None:
    # Newcombe 1998, table I, row 1: 81 of 263
    low, high = wilson(81, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(5, 5)[1] == 1.0


def test_precision_by_set_and_by_week(engine: Engine) -> None:
    alerts = [numbered(n, hours=24) for n in range(10)]  # from a Monday on
    store(engine, alerts)
    for n, said in enumerate(["true_positive"] * 3 + ["false_positive", "unsure"] + ["true_positive"] * 3):
        judge(engine, alerts[n], said)
    judge(engine, alerts[0], "false_positive", "grace")
    (row,) = by_set(engine)
    assert (row.alerts, row.precision.true, row.precision.false, row.unsure, row.disputed) == (10, 5, 1, 1, 1)
    weeks = by_week(engine, alerts[0].set.id)
    assert [(f"{w.monday:%F}", w.alerts, w.precision.true, w.precision.false) for w in weeks] == [
        ("2026-03-09", 3, 1, 0),
        ("2026-03-02", 7, 4, 1),
    ]


def test_two_reviewers_agreement_is_corrected_for_chance(engine: Engine) -> None:
    alerts = [numbered(n) for n in range(50)]
    store(engine, alerts)
    # Cohen's kappa of 20, 5, 10, 15 is 0.4
    said = [("true_positive", "true_positive")] * 20 + [("true_positive", "false_positive")] * 5
    said += [("false_positive", "true_positive")] * 10 + [("false_positive", "false_positive")] * 15
    for found, (one, other) in zip(alerts, said, strict=True):
        judge(engine, found, one)
        judge(engine, found, other, "grace")
    judge(engine, alerts[0], "unsure", "mary")
    (pair,) = agreement(engine)
    assert (pair.reviewers, pair.both, pair.same) == (("ada", "grace"), 50, 35)
    assert pair.kappa == pytest.approx(0.4)


def test_another_threshold_counts_what_would_be_left(engine: Engine) -> None:
    scores = [0.72, 0.75, 0.80, 0.85, 0.90, 0.95]
    alerts = [numbered(n, hours=12, score=score, threshold=0.71) for n, score in enumerate(scores)]
    store(engine, alerts)
    for found, said in zip(alerts, ["false_positive"] * 3 + ["true_positive"] * 2, strict=False):
        judge(engine, found, said)
    found = slider(engine, alerts[0].set.id)
    assert found is not None
    assert (found.lowest, found.highest, found.days) == (0.71, 0.95, 2.5)
    now, then = what_if(engine, found, found.lowest), what_if(engine, found, 0.85)
    assert (now.alerts, now.a_day, now.precision.share) == (6, 2.4, 0.4)
    assert (then.alerts, then.a_day, then.precision.share) == (3, 1.2, 1.0)
    assert (then.lost_true, then.spared_false) == (0, 3)
    assert asked_threshold("0.8", found) == 0.8
    assert asked_threshold("7", found) == 0.95
    assert asked_threshold("nan", found) == asked_threshold("", found) == asked_threshold("-1", found) == 0.71
    assert slider(engine, "nothing") is None


@pytest.mark.parametrize(
    "text",
    [
        "log:\n  level: debug\n",
        'feature_sets:\n  paths: ["builtin:smollm2-135m-instruct"]  # ours\n',
        "feature_sets:\n  overrides:\n    bias:\n      severity: low\n",
        "feature_sets:\n  overrides:\n    unsafe_code: {threshold: 0.8}\nlog: {level: debug}",
        "feature_sets: {overrides: {unsafe_code: {severity: low}}}\n",
    ],
)
def test_a_proposal_is_a_diff_that_changes_the_threshold_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "latentwatch.yaml"
    path.write_text(text)
    found = proposal(ConfigFile(path), "unsafe_code", 0.93)
    assert found.is_diff
    assert path.read_text() == text
    changed = _patched(text, found.text)
    before, after = yaml.safe_load(text), yaml.safe_load(changed)
    assert after["feature_sets"]["overrides"]["unsafe_code"]["threshold"] == 0.93
    after["feature_sets"]["overrides"]["unsafe_code"].pop("threshold")
    for name, kept in before.get("feature_sets", {}).get("overrides", {}).items():
        assert after["feature_sets"]["overrides"][name] == {k: v for k, v in kept.items() if k != "threshold"}
    assert after.get("log") == before.get("log")
    path.write_text(changed)
    assert load_config(path, {}).feature_sets.overrides["unsafe_code"].threshold == 0.93


def _patched(text: str, diff: str) -> str:
    """The text after the diff, whose hunks are applied by their lines."""
    lines = [line for line in diff.splitlines() if not line.startswith(("---", "+++"))]
    old = text.splitlines()
    new: list[str] = []
    at = 0
    for line in lines:
        if line.startswith("@@"):
            start = int(line.split()[1].lstrip("-").split(",")[0]) - 1
            new += old[at : max(start, 0)]
            at = max(start, 0)
        elif line.startswith("+"):
            new.append(line[1:])
        else:
            assert old[at] == line[1:]
            if line.startswith(" "):
                new.append(line[1:])
            at += 1
    return "\n".join([*new, *old[at:]]) + "\n"


@pytest.mark.parametrize("text", ["", "- a\n", "feature_sets:\n", "a: [\n"])
def test_without_a_usable_file_a_proposal_is_yaml_to_merge(tmp_path: Path, text: str) -> None:
    path = tmp_path / "latentwatch.yaml"
    path.write_text(text)
    found = proposal(ConfigFile(path), "unsafe_code", 0.93)
    assert not found.is_diff
    assert "latentwatch.yaml" in found.note
    override = yaml.safe_load(found.text)["feature_sets"]["overrides"]["unsafe_code"]
    assert SetOverride.model_validate(override).threshold == 0.93
    assert proposal(None, "unsafe_code", 0.93).text == found.text


def test_the_queue_takes_turns_and_begins_near_the_threshold(engine: Engine) -> None:
    words = ("garden birds", "ships and harbours", "violins at night", "mountain passes")
    near, far, other, judged = (
        numbered(n, f"{text} eval( {text} {n * 'x'}", score=score, category=category)
        for n, (text, score, category) in enumerate(
            zip(words, (0.72, 0.99, 0.98, 0.715), ("unsafe_code", "unsafe_code", "bias", "unsafe_code"), strict=True)
        )
    )
    again = numbered(9, f"{words[0]} eval( {words[0]} ", score=0.73)
    store(engine, [far, near, other, judged, again])
    judge(engine, judged, "unsure")
    assert queue(engine, "ada", Filters()) == (near.id, other.id, far.id)
    assert queue(engine, "ada", Filters(category="bias")) == (other.id,)
    assign(engine, number_of(engine, other), "grace", "ada", 1)
    assert other.id not in queue(engine, "ada", Filters())
    assert other.id in queue(engine, "grace", Filters())


def test_tenants_take_turns_in_the_queue(engine: Engine) -> None:
    words = ("garden birds", "ships and harbours", "violins at night")
    first, second, small = (
        numbered(n, f"{text} eval( {text} {n * 'x'}", score=0.72 + n / 100, tenant="small" if n == 2 else "large")
        for n, text in enumerate(words)
    )
    store(engine, [first, second, small])
    assert queue(engine, "ada", Filters()) == (first.id, small.id, second.id)


def test_an_export_is_what_the_lab_reads(engine: Engine, tmp_path: Path) -> None:
    risky, harmless, disputed, unsure, without_text = (
        numbered(n, text) for n, text in enumerate(["a eval( b", "c eval( d", "e", "f", None])
    )
    by_user = numbered(9, "what a user said")
    segment = by_user.segment.model_copy(update={"name": "user"})
    by_user = by_user.model_copy(update={"segment": segment})
    of_tool = numbered(10, "what a tool said").model_copy(
        update={"segment": segment.model_copy(update={"name": "tool"})}
    )
    store(engine, [risky, harmless, disputed, unsure, without_text, by_user, of_tool])
    for found in (risky, disputed, without_text, by_user, of_tool):
        judge(engine, found, "true_positive", note="sure")
    judge(engine, harmless, "false_positive", category="bias")
    judge(engine, disputed, "false_positive", "grace")
    judge(engine, unsure, "unsure")
    assert (exportable(engine, Filters()).rows, exportable(engine, Filters()).without_text) == (4, 1)
    file = tmp_path / "reviewed.jsonl"
    file.write_text("".join(labelled_rows(engine, Filters())), encoding="utf-8")
    rows = {row.id: row for row in load_rows(file)}
    assert set(rows) == {risky.id, harmless.id, by_user.id}
    assert (rows[risky.id].label, rows[risky.id].response) == (1, "a eval( b")
    assert rows[risky.id].labelled_segment == "response"
    assert rows[harmless.id].label == 0
    assert (rows[by_user.id].prompt, rows[by_user.id].labelled_segment) == ("what a user said", "user")
    raw = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["category"] for row in raw if row["id"] == harmless.id] == ["bias"]
    file.write_text("".join(labelled_rows(engine, Filters(), "false")), encoding="utf-8")
    assert [row.id for row in load_benign(file)] == [harmless.id]


def test_a_large_export_has_every_row_once(sqlite: Engine) -> None:
    alerts = [numbered(n) for n in range(450)]
    store(sqlite, alerts)
    give_verdict(sqlite, list(range(1, 451)), Verdict("ada", "true_positive"))
    rows = [json.loads(line)["id"] for line in labelled_rows(sqlite, Filters())]
    assert sorted(rows) == sorted(found.id for found in alerts)
    assert not math.isnan(json.loads(next(labelled_rows(sqlite, Filters())))["score"])
