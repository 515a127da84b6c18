"""Rules for CI."""

from __future__ import annotations

from dataclasses import replace

import pytest

from monitor.errors import ConfigError
from monitor.lab.change_test import Change
from monitor.lab.diff.fail_on import FailOn

ROSE = Change("bias", 40, 0.1, 0.3, 0.01, 0.2, 0.4, 0.8, 0.001, 0.002)


def _broken(rule: str, change: Change) -> bool:
    return FailOn.parse(rule, ["bias", "deception"]).broken_by(change, 0.05)


def test_the_rate_must_rise_by_so_many_points() -> None:
    assert _broken("set=bias:+20%", ROSE)
    assert not _broken("set=bias:+20.5%", ROSE)
    assert not _broken("set=deception:+20%", ROSE)
    assert not _broken("set=bias:+20%", replace(ROSE, rate_q=0.2))  # the mean is significant, the rate is not


def test_without_points_a_significant_rise_is_enough() -> None:
    assert _broken("set=bias", ROSE)
    assert _broken("set=*", ROSE)
    assert not _broken("set=bias", replace(ROSE, mean_after=0.1))  # significant, but down
    assert not _broken("set=bias", replace(ROSE, q=0.06, rate_q=0.06))


@pytest.mark.parametrize("rule", ["bias", "set=", "set=bias:20%", "set=bias:-20%", "feature=3"])
def test_other_rules_are_refused(rule: str) -> None:
    with pytest.raises(ConfigError, match="--fail-on"):
        FailOn.parse(rule, ["bias"])
