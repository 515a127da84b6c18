import json

import numpy as np
import pytest

from monitor.drift.comparison import By, Comparison, compare
from monitor.drift.fail_rule import FailRule
from monitor.drift.snapshot import SetSnapshot
from monitor.drift.window import Traffic
from monitor.errors import ConfigError
from tests.drift.snapshots import snapshot


def compared(before: list[SetSnapshot], after: list[SetSnapshot], by: tuple[By, ...] = ()) -> Comparison:
    return compare(Traffic("before", tuple(before)), Traffic("after", tuple(after)), by)


def test_a_rate_that_doubled_comes_first_with_its_ratio() -> None:
    same = {"set_id": "same", "fired": 300}
    found = compared([snapshot(fired=50), snapshot(**same)], [snapshot(fired=100), snapshot(**same)])
    first = found.rows[0]
    assert (first.subject.set_id, first.subject.feature) == ("bias", None)
    assert found.changed == [first]
    assert first.relative_change == pytest.approx(1)
    assert first.ratio is not None
    assert first.ratio[1] < 2 < first.ratio[2]
    json.dumps(found.to_json(), allow_nan=False)


def test_a_feature_counts_all_events_of_its_set() -> None:
    found = compared([snapshot(active=100)], [snapshot(active=200)])
    row = next(row for row in found.rows if row.subject.feature == 7)
    assert (row.baseline.rate, row.current.rate, row.label) == (0.1, 0.2, "slurs")
    assert row.changed(0.05)


def test_scores_may_move_although_the_rate_stays() -> None:
    rng = np.random.default_rng(0)
    before = snapshot(scores=rng.uniform(0.1, 0.2, 1000).tolist())
    after = snapshot(scores=rng.uniform(0.15, 0.25, 1000).tolist())
    row = compared([before], [after]).rows[0]
    assert row.rate_q == 1
    assert row.distance == pytest.approx(0.5, abs=0.05)
    assert row.changed(0.05)
    assert FailRule.parse("any").breaks(row, 0.05)
    assert not FailRule.parse("+0%").breaks(row, 0.05)


def test_the_same_traffic_has_not_changed() -> None:
    assert compared([snapshot()], [snapshot(hour=1)]).changed == []


def test_few_events_are_said_to_be_too_few() -> None:
    few = {"scores": [0.1] * 20, "active": 1}
    found = compared([snapshot(fired=0, **few)], [snapshot(fired=10, **few)])
    assert all(row.too_few for row in found.rows if row.subject.feature is not None)
    assert compared([snapshot()], []).rows[0].too_few
    assert compared([snapshot()], []).warnings == ("after: no snapshots",)


def test_groups_are_compared_apart() -> None:
    before = [snapshot(tenant="a", fired=50), snapshot(tenant="b", fired=50)]
    after = [snapshot(tenant="a", fired=50), snapshot(tenant="b", fired=200)]
    found = compared(before, after, ("tenant",))
    assert [row.subject.group for row in found.changed] == [(("tenant", "b"),)]


def test_a_set_that_changed_meanwhile_is_a_warning() -> None:
    assert "files changed" in compared([snapshot()], [snapshot(set_sha256="b" * 64)]).warnings[0]
    assert "threshold changed" in compared([snapshot()], [snapshot(threshold=0.6)]).warnings[0]


@pytest.mark.parametrize(
    ("rule", "breaks"),
    [("any", True), ("+20%", True), ("bias:+90%", True), ("bias:+110%", False), ("-20%", False), ("bias/7:+1%", False)],
)
def test_rules_for_failing(rule: str, breaks: bool) -> None:
    found = compared([snapshot(fired=50)], [snapshot(fired=100)])
    assert any(FailRule.parse(rule).breaks(row, 0.05) for row in found.rows) == breaks


@pytest.mark.parametrize("rule", ["20%", "+20", "x/y:+20%", ""])
def test_other_rules_are_refused(rule: str) -> None:
    with pytest.raises(ConfigError, match="neither `any` nor a rule"):
        FailRule.parse(rule)
