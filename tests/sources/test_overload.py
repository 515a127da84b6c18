"""Overload: when it begins and ends, and that no tenant crowds out another."""

from __future__ import annotations

from collections import Counter

import pytest

from monitor.config.overload import OverloadConfig
from monitor.events.event import Event
from monitor.sources.overload import Overload
from tests.alert_factory import make_event


def overload(**config: float) -> Overload:
    return Overload(OverloadConfig.model_validate(config), lambda event: event.model)


def events(**by_tenant: int) -> list[Event]:
    return [make_event(f"{name}-{n}", model=name) for name, count in by_tenant.items() for n in range(count)]


def read(rule: Overload, found: list[Event]) -> Counter[str | None]:
    return Counter(found[place].model for place in rule.chosen(found))


def test_by_default_nothing_is_ever_skipped() -> None:
    rule = overload()
    rule.update(10**9, 10**9)
    assert read(rule, events(a=50)) == {"a": 50}


@pytest.mark.parametrize(
    ("config", "low", "high"), [({"lag": 100}, (51, 0), (101, 0)), ({"age_s": 60}, (0, 31), (0, 61))]
)
def test_it_begins_over_the_limit_and_ends_under_half_of_it(
    config: dict[str, float], low: tuple[int, float], high: tuple[int, float]
) -> None:
    rule = overload(sampling=0.1, **config)
    rule.update(*low)
    assert not rule.reason
    rule.update(*high)
    assert rule.reason
    rule.update(*low)
    assert rule.reason
    rule.update(1, 1.0)
    assert not rule.reason
    assert read(rule, events(a=50)) == {"a": 50}


def test_what_is_not_known_is_no_overload() -> None:
    rule = overload(sampling=0.1, lag=1, age_s=1)
    rule.update(None, None)
    assert not rule.reason


@pytest.mark.parametrize(
    ("waiting", "chosen"),
    [
        ({"a": 100}, {"a": 20}),
        ({"loud": 96, "b": 2, "c": 2}, {"loud": 16, "b": 2, "c": 2}),
        ({"a": 50, "b": 50}, {"a": 10, "b": 10}),
        ({"a": 1}, {"a": 1}),
    ],
)
def test_the_share_is_divided_between_tenants(waiting: dict[str, int], chosen: dict[str, int]) -> None:
    rule = overload(sampling=0.2, lag=1)
    rule.update(2, None)
    assert read(rule, events(**waiting)) == chosen


def test_the_same_events_are_chosen_again() -> None:
    rule = overload(sampling=0.2, lag=1)
    rule.update(2, None)
    found = events(a=30, b=10)
    ids = {found[place].id for place in rule.chosen(found)}
    backwards = found[::-1]
    assert {backwards[place].id for place in rule.chosen(backwards)} == ids


@pytest.mark.parametrize(
    "config", [{"sampling": 0.5}, {"lag": 5}, {"sampling": 1.1, "lag": 5}, {"sampling": 0, "lag": 5}]
)
def test_a_config_that_makes_no_sense_is_refused(config: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="sampling"):
        OverloadConfig.model_validate(config)
