"""Which attributes of an event alerts and telemetry carry."""

from __future__ import annotations

from typing import Any

import pytest

from monitor.alerts.event_attributes import ChosenAttributes
from monitor.config.alerts import AlertsConfig
from monitor.config.feature_sets import FeatureSetsConfig
from monitor.errors import ConfigError
from tests.alert_factory import make_event


def of(
    chosen: list[str], attributes: dict[str, Any], headers: tuple[tuple[str, bytes], ...] = (), **config: Any
) -> Any:
    event = make_event(attributes=attributes, headers=headers)
    return ChosenAttributes(chosen, FeatureSetsConfig.model_validate(config)).of(event)


def test_those_that_the_event_has_in_the_config_s_order() -> None:
    attributes = {"region": "eu", "tenant": "bank", "user": "u-1", "cost": 3, "org": {"unit": "x"}}
    chosen = ["tenant", "region", "team", "cost", "org.unit"]
    found = of(chosen, attributes)
    assert list(found.items()) == [("tenant", "bank"), ("region", "eu"), ("cost", "3"), ("org.unit", "x")]
    assert of([], attributes) == {}


def test_tenant_and_environment_are_those_of_the_rules() -> None:
    found = of(
        ["tenant", "environment"],
        {"deployment.environment.name": "prod", "tenant": "wrong"},
        (("x-tenant", b"bank"),),
        tenant_from="header:x-tenant",
    )
    assert found == {"tenant": "bank", "environment": "prod"}


@pytest.mark.parametrize("value", ["", "x" * 257, True, 1.5, ["bank"], {"name": "bank"}, None])
def test_what_is_no_short_text_or_whole_number_is_left_out(value: object) -> None:
    assert of(["tenant"], {"tenant": value}) == {}


@pytest.mark.parametrize("chosen", [["a b"], ["1"], [""], ["a", "b", "c", "d", "e"]])
def test_names_are_short_and_few(chosen: list[str]) -> None:
    with pytest.raises(ConfigError):
        AlertsConfig().changed(attributes=chosen)
