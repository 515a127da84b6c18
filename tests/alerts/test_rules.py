"""What rules decide for an event, in which order, and which do not fit the sets in use."""

from __future__ import annotations

from typing import Any

import pytest

from monitor.alerts import rules as rules_module
from monitor.alerts.rules import UNCHANGED, Decision, RuleBook, SetDecision, rule_problems
from monitor.config.sections import FeatureSetsConfig
from monitor.events.event import Event, Origin
from tests.alert_factory import make_event
from tests.feature_set_factory import make_set, make_summed, make_weighted

SETS = ["bias", "deception"]


def book(*rules: dict[str, Any], **more: Any) -> RuleBook:
    return RuleBook(FeatureSetsConfig.model_validate({"rules": rules, **more}), SETS)


def rule(name: str, when: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"name": name, "when": when, **changes}


def of(tenant: str | None, model: str = "gpt-4o", topic: str = "llm.events", **more: Any) -> Event:
    attributes = {} if tenant is None else {"tenant": tenant}
    return make_event(attributes=attributes, model=model, origin=Origin(topic, 0, 0), **more)


def test_later_rules_win_key_by_key_and_are_named_if_they_count() -> None:
    rules = book(
        rule("all", {"topic": "*"}, sets={"*": {"severity": "low"}, "bias": {"severity": "info", "threshold": 0.7}}),
        rule("acme", {"tenant": "acme"}, sets={"bias": {"threshold": 0.9}}),
        rule("acme-gpt", {"tenant": "acme", "model": "gpt-*"}, sets={"*": {"severity": "high"}}),
    )
    assert rules.decide(of("other")).sets == {
        "bias": SetDecision(severity="info", threshold=0.7, rules=("all",)),
        "deception": SetDecision(severity="low", rules=("all",)),
    }
    assert rules.decide(of("acme", model="llama")).sets["bias"] == SetDecision(
        severity="info", threshold=0.9, rules=("all", "acme")
    )
    assert rules.decide(of("acme")).sets == {
        "bias": SetDecision(severity="high", threshold=0.9, rules=("acme", "acme-gpt")),
        "deception": SetDecision(severity="high", rules=("acme-gpt",)),
    }


def test_a_set_for_one_tenant_alone() -> None:
    rules = book(
        rule("off", {"topic": "*"}, sets={"bias": {"enabled": False}}),
        rule("acme", {"tenant": "acme"}, sets={"bias": {"enabled": True}}),
    )
    assert not rules.decide(of("other")).sets["bias"].enabled
    assert rules.decide(of("acme")).sets["bias"] == SetDecision(enabled=True, rules=("acme",))


def test_all_keys_of_when_must_match_and_what_is_missing_matches_nothing() -> None:
    rules = book(rule("r", {"tenant": "*", "topic": ["a", "b*"]}, sets={"bias": {"severity": "low"}}))
    decided = [bool(rules.decide(e).sets) for e in (of("x", topic="a"), of("x", topic="c"), of(None, topic="a"))]
    assert decided == [True, False, False]
    assert rules.decide(of("x", topic="c")) == Decision()


@pytest.mark.parametrize(
    ("event", "matches"),
    [
        (make_event(attributes={"org": {"id": "acme"}}), True),
        (make_event(attributes={"org.id": "acme", "org": {"id": "other"}}), True),
        (make_event(attributes={}, headers=(("x-tenant", b"acme"),)), True),
        (make_event(attributes={"org": {"id": "other"}}, headers=(("x-tenant", b"acme"),)), False),  # the first counts
        (make_event(attributes={"org": "acme"}), False),
        (make_event(attributes={"org": {"id": ["acme"]}}), False),
        (make_event(attributes={}, headers=(("x-tenant", b"\xff"),)), False),
    ],
)
def test_where_the_tenant_is_named(event: Event, matches: bool) -> None:
    rules = book(
        rule("r", {"tenant": "acme"}, sets={"bias": {"severity": "low"}}),
        tenant_from=["attribute:org.id", "header:x-tenant"],
    )
    assert bool(rules.decide(event).sets) == matches


def test_a_number_names_a_tenant_and_an_endless_text_does_not() -> None:
    rules = book(rule("r", {"tenant": ["7", "x*"]}, sets={"bias": {"severity": "low"}}))
    tenants = (7, True, "x" * 256, "x" * 257)
    found = [bool(rules.decide(make_event(attributes={"tenant": tenant})).sets) for tenant in tenants]
    assert found == [True, False, True, False]


def test_decisions_are_kept_and_how_many_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules_module, "_MAX_KNOWN", 3)
    rules = book(rule("r", {"tenant": "*"}, sets={"bias": {"severity": "low"}}))
    assert rules.decide(of("a")) is rules.decide(of("a"))
    for n in range(10):
        rules.decide(of(str(n)))
    assert len(rules._known) == 3
    assert book().decide(of("a")) is UNCHANGED


def test_the_share_that_is_read_is_as_large_as_asked_and_always_the_same() -> None:
    rules = book(
        rule("most", {"topic": "*"}, sampling=0.5),
        rule("few", {"tenant": "loud"}, sampling=0.1),
        rule("key", {"tenant": "loud", "model": "key"}, sampling=1.0),
    )
    events = [of("loud", id=f"e{n}") for n in range(4_000)]
    few = {e.id for e in events if rules.decide(e).samples(e)}
    assert len(few) / 4_000 == pytest.approx(0.1, abs=0.02)
    assert rules.decide(events[0]).sampled_by == "few"
    # of what another rule reads, it is a part: the hash is the same
    most = {e.id for e in (of("calm", id=f"e{n}") for n in range(4_000)) if rules.decide(e).samples(e)}
    assert few < most
    assert rules.decide(of("loud", model="key")).samples(events[0])


def test_rules_that_do_not_fit_the_sets() -> None:
    change = {"unsafe-code": {"threshold": 1.0}, "nope": {"severity": "low"}, "*": {"severity": "low"}}
    config = FeatureSetsConfig.model_validate({"rules": [rule("r", {"tenant": "a"}, sets=change)]})
    assert list(rule_problems(config, [make_weighted()])) == [
        "feature_sets.rules: r: sets.nope: no set of this name is in use; there are unsafe-code"
    ]
    assert list(rule_problems(config, [make_set(id="nope"), make_set()])) == [
        "feature_sets.rules: r: sets.unsafe-code.threshold: unsafe-code has condition any, and its features have "
        "thresholds of their own"
    ]


@pytest.mark.parametrize(("used", "problem"), [(make_weighted(), True), (make_summed(), False)])
def test_a_threshold_that_no_score_reaches(used: Any, problem: bool) -> None:
    sets = {"unsafe-code": {"threshold": 1.5}}
    config = FeatureSetsConfig.model_validate({"rules": [rule("r", {"tenant": "a"}, sets=sets)]})
    found = list(rule_problems(config, [used]))
    assert found == (
        [
            "feature_sets.rules: r: sets.unsafe-code.threshold: 1.5 is never reached, because scores are 1 at most; "
            "use enabled: false"
        ]
        if problem
        else []
    )
