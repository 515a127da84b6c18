"""Rules are checked when they are loaded: each must name events, change something, and be able to count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor.config.load import load_config
from monitor.errors import ConfigError


def rule(name: str = "acme", **changes: Any) -> dict[str, Any]:
    return {"name": name, "when": {"tenant": "acme"}, "sets": {"bias": {"threshold": 0.9}}, **changes}


def load(tmp_path: Path, *rules: dict[str, Any], **more: Any) -> Any:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"feature_sets": {"rules": list(rules), **more}}))
    return load_config(path, {}).feature_sets


def test_one_pattern_needs_no_brackets(tmp_path: Path) -> None:
    found = load(tmp_path, rule(when={"model": "gpt-*", "topic": ["a", "b"]}), tenant_from="header:x-tenant")
    assert found.rules[0].when.model == ("gpt-*",)
    assert found.rules[0].when.topic == ("a", "b")
    assert found.tenant_from == ("header:x-tenant",)


BAD: dict[str, tuple[list[dict[str, Any]], str]] = {
    "no_name": ([{**rule(), "name": ""}], "feature_sets.rules.0.name: "),
    "no_when": (
        [rule(when={})],
        "feature_sets.rules.0.when: needs tenant, environment, model or topic; for all events",
    ),
    "unknown_key_of_when": ([rule(when={"tenants": "a"})], "feature_sets.rules.0.when.tenants: unknown key"),
    "empty_pattern": ([rule(when={"tenant": ""})], "feature_sets.rules.0.when.tenant.0: "),
    "no_change": ([rule(sets={})], "feature_sets.rules.0: changes nothing: give sampling or sets"),
    "no_change_of_a_set": ([rule(sets={"bias": {}})], "feature_sets.rules.0.sets.bias: changes nothing"),
    "features": ([rule(sets={"bias": {"features": {1: {}}}})], "feature_sets.rules.0.sets.bias.features: unknown key"),
    "threshold_of_all": (
        [rule(sets={"*": {"threshold": 0.5}})],
        "feature_sets.rules.0: sets.*.threshold: scores of different sets mean different things; name each set",
    ),
    "no_sample": ([rule(sampling=0)], "feature_sets.rules.0.sampling: "),
    "over_sample": ([rule(sampling=1.5)], "feature_sets.rules.0.sampling: "),
    "name_twice": (
        [rule(), rule(when={"tenant": "other"})],
        "feature_sets.rules: acme: two rules have this name; alerts name the rule, so give each its own",
    ),
    "same_twice": ([rule(), rule("later")], "feature_sets.rules: acme: never counts, because later comes later"),
    "covered": (
        [rule(when={"tenant": "acme", "model": "gpt-4o"}), rule("wide", when={"model": ["x", "gpt-*"]})],
        "feature_sets.rules: acme: never counts, because wide comes later",
    ),
    "covered_by_all_sets": (
        [rule(sets={"bias": {"severity": "low"}}), rule("all", sets={"*": {"severity": "high"}})],
        "feature_sets.rules: acme: never counts, because all comes later",
    ),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_rule_is_refused(tmp_path: Path, fault: str) -> None:
    rules, problem = BAD[fault]
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, *rules)
    (found,) = caught.value.problems
    assert problem in found
    assert found.startswith(f"{tmp_path}/config.yaml: ")


@pytest.mark.parametrize(
    "later",
    [
        rule("later", when={"tenant": "acme", "model": "gpt-*"}),  # only for some of its events
        rule("later", sets={"bias": {"severity": "low"}}),  # of another key
        rule("later", sets={"deception": {"threshold": 0.9}}),  # of another set
        rule("later", sampling=0.5, sets={}),
        rule("later", when={"tenant": "acme-*"}),
    ],
)
def test_a_rule_that_counts_for_anything_is_accepted(tmp_path: Path, later: dict[str, Any]) -> None:
    assert len(load(tmp_path, rule(), later).rules) == 2


@pytest.mark.parametrize("origin", ["tenant", "attribute:", "body:tenant"])
def test_where_a_tenant_is_named_must_be_an_attribute_or_a_header(tmp_path: Path, origin: str) -> None:
    with pytest.raises(ConfigError, match=r"feature_sets\.tenant_from\.0: "):
        load(tmp_path, tenant_from=origin)
