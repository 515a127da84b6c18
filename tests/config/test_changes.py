"""Differences of two configs in words: complete, and without secrets."""

from __future__ import annotations

from typing import Any

import pytest

from monitor.config.changes import config_changes
from monitor.config.sections import Config

RULE = {"name": "acme", "when": {"tenant": ["a", "b*"], "model": "gpt-*"}, "sampling": 0.25}
SETS = {"sets": {"*": {"severity": "low"}, "bias": {"enabled": False, "threshold": 0.5}}}


def changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, str]:
    found = config_changes(*(Config.model_validate(data) for data in (before, after)))
    return {f"{c.key}{'!' if c.needs_restart else ''}": c.words for c in found}


def rules(*items: dict[str, Any]) -> dict[str, Any]:
    return {"feature_sets": {"rules": items}}


def test_keys_of_every_section() -> None:
    before = {"kafka": {"bootstrap_servers": "a:1", "options": {"client_rack": "x"}}, "alerts": {"top_tokens": 4}}
    after = {
        "kafka": {"bootstrap_servers": "b:1", "ssl_cafile": "/ca.pem", "options": {"check_crcs": False}},
        "sinks": {"jsonl": {"enabled": True}},
        "feature_sets": {"only": ["bias"]},
    }
    assert changes(before, after) == {
        "kafka.bootstrap_servers!": "a:1 → b:1",
        "kafka.ssl_cafile!": "none → /ca.pem",
        "kafka.options.client_rack!": "x → none",
        "kafka.options.check_crcs!": "none → false",
        "feature_sets.only": '[] → ["bias"]',
        "alerts.top_tokens": "4 → 8",
        "sinks.jsonl.enabled!": "false → true",
    }
    assert changes(before, before) == {}


def test_rules_are_told_by_name() -> None:
    scope = "for tenant a or b* and model gpt-*"
    whole = f"{scope}: 0.25 of the events are read; all sets severity low; bias off, threshold 0.5"
    other = {"name": "other", "when": {"topic": "t"}, "sets": {"bias": {"enabled": True}}}
    assert changes(rules(), rules(RULE | SETS)) == {"feature_sets.rules.acme": f"new: {whole}"}
    assert changes(rules(RULE | SETS), rules(RULE)) == {
        "feature_sets.rules.acme": f"{whole} → {scope}: 0.25 of the events are read"
    }
    assert changes(rules(RULE, other), rules(other, RULE)) == {"feature_sets.rules": "order: acme, other → other, acme"}
    assert changes(rules(RULE, other), rules(RULE)) == {"feature_sets.rules.other": "removed: for topic t: bias on"}


def test_entries_of_the_allow_list_are_told_by_name() -> None:
    entry = {"name": "tutor", "system_sha256": "a" * 64, "sets": ["bias"]}
    pattern = {"system_pattern": "You are a security tutor*", "segments": ["user"]}
    assert changes({}, {"feature_sets": {"allow": [entry | pattern]}}) == {
        "feature_sets.allow.tutor": "new: the prompt aaaaaaaaaaaa..., prompts like You are a security tutor* silence "
        "bias in user"
    }


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("kafka.sasl_password", ("hunter2", "hunter3")),
        ("sinks.otel.endpoint", ("https://me:hunter2@collector", "https://me:hunter3@collector")),
    ],
)
def test_secrets_are_hidden(key: str, values: tuple[Any, Any]) -> None:
    configs = []
    for value in values:
        data: Any = value
        for name in reversed(key.split(".")):
            data = {name: data}
        configs.append(Config.model_validate(data))
    (change,) = config_changes(*configs)
    assert change.key == key
    assert "hunter" not in repr(change)
    assert "(hidden)" in change.words
