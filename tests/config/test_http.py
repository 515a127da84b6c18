"""source.kind: http, and what becomes of Kafka then."""

from __future__ import annotations

from typing import Any

import pytest

from monitor.config.load import load_config
from monitor.config.sections import Config

JSONL = {"jsonl": {"enabled": True}}


def config(**sections: Any) -> Config:
    return Config.model_validate({"source": {"kind": "http"}, **sections})


def test_kafka_is_the_source_and_a_sink_unless_the_config_says_otherwise() -> None:
    assert Config().source.kind == "kafka"
    assert list(Config().sinks.enabled()) == ["kafka"]
    assert Config().uses_kafka


def test_with_http_no_broker_is_needed() -> None:
    found = config(sinks=JSONL)
    assert list(found.sinks.enabled()) == ["jsonl"]
    assert not found.uses_kafka


def test_with_http_alerts_may_go_to_kafka() -> None:
    found = config(sinks={"kafka": {"enabled": True, "topic": "a"}})
    assert found.uses_kafka
    assert list(found.sinks.enabled()) == ["kafka"]


@pytest.mark.parametrize("sinks", [None, {}, {"kafka": {"topic": "a"}}, {"kafka": None}])
def test_with_http_a_sink_has_to_be_named(sinks: Any) -> None:
    with pytest.raises(ValueError, match="no sink is enabled: alerts would go nowhere"):
        config(sinks=sinks)


def test_the_environment_chooses_the_source_too() -> None:
    env = {"LATENTWATCH__SOURCE__KIND": "http", "LATENTWATCH__SINKS__JSONL__ENABLED": "true"}
    assert not load_config(None, env).uses_kafka


def test_a_changed_config_keeps_its_sinks() -> None:
    found = config(sinks=JSONL)
    assert found.changed(alerts=found.alerts) == found
