"""RuleBook: what the config's rules decide for an event."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from detectors.detector import detector_of
from detectors.feature_set import FeatureSet, Severity
from monitor.alerts.event_attributes import value_of
from monitor.config.feature_sets import FeatureSetsConfig
from monitor.config.rules import ALL_SETS, Rule
from monitor.events.event import Event

_MAX_KNOWN = 4_096
"""Kinds of events whose decision is remembered; tenants can be many."""
Kind = tuple[str | None, ...]
"""What rules can tell events apart by, in the order of RuleScope's keys."""


@dataclass(frozen=True)
class SetDecision:
    """How one set judges an event. None leaves it to the set."""

    enabled: bool = True
    severity: Severity | None = None
    threshold: float | None = None
    rules: tuple[str, ...] = ()
    """Names of the rules that decided this."""


AS_SET = SetDecision()


@dataclass(frozen=True)
class Decision:
    """What the rules decide for one kind of event."""

    sets: Mapping[str, SetDecision] = field(default_factory=dict)
    """By set id; a set that no rule changes is missing."""
    sampling: float = 1.0
    sampled_by: str = ""
    """The rule that says so."""

    def samples(self, event: Event) -> bool:
        """Whether the event is one of the share that is read; always the same for the same id."""
        if self.sampling >= 1:
            return True
        digest = hashlib.sha256(event.id.encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") < self.sampling * 2**64


UNCHANGED = Decision()


class RuleBook:
    """Decides by the rules in their order. A decision is kept for each combination of what rules look at."""

    def __init__(self, config: FeatureSetsConfig, set_ids: Sequence[str]) -> None:
        self._rules = [(rule, rule.when.scope()) for rule in config.rules]
        self._tenant_from = config.tenant_from
        self._environment_from = config.environment_from
        self._set_ids = set_ids
        self._known: OrderedDict[Kind, Decision] = OrderedDict()

    def decide(self, event: Event) -> Decision:
        """What the rules decide for the event."""
        if not self._rules:
            return UNCHANGED
        kind = (
            value_of(event, self._tenant_from),
            value_of(event, self._environment_from),
            event.model,
            event.origin.topic,
        )
        decision = self._known.get(kind)
        if decision is None:
            decision = self._decided([rule for rule, scope in self._rules if scope.matches(kind)])
            self._known[kind] = decision
            if len(self._known) > _MAX_KNOWN:
                self._known.popitem(last=False)
        return decision

    def _decided(self, rules: Sequence[Rule]) -> Decision:
        if not rules:
            return UNCHANGED
        sampled = next((rule for rule in reversed(rules) if rule.sampling is not None), None)
        sets = {name: _merged(name, rules) for name in self._set_ids}
        return Decision(
            {name: decision for name, decision in sets.items() if decision != AS_SET},
            1.0 if sampled is None or sampled.sampling is None else sampled.sampling,
            "" if sampled is None else sampled.name,
        )


def _merged(set_id: str, rules: Sequence[Rule]) -> SetDecision:
    found: dict[str, Any] = {}
    by: dict[str, str] = {}
    for rule in rules:
        for of in (ALL_SETS, set_id):  # what a rule says of one set goes before what it says of all
            for key, value in rule.sets.get(of, ()):
                if value is not None:
                    found[key], by[key] = value, rule.name
    names = set(by.values())
    return SetDecision(**found, rules=tuple(rule.name for rule in rules if rule.name in names))


def rule_problems(config: FeatureSetsConfig, sets: Sequence[FeatureSet]) -> Iterator[str]:
    """What in the rules does not fit the sets in use."""
    by_id = {used.id: used for used in sets}
    for rule in config.rules:
        for name, change in rule.sets.items():
            where = f"feature_sets.rules: {rule.name}: sets.{name}"
            if name != ALL_SETS and name not in by_id:
                yield f"{where}: no set of this name is in use; there are {', '.join(sorted(by_id))}"
            elif change.threshold is not None:
                problem = threshold_problem(by_id[name], change.threshold)
                if problem:
                    yield f"{where}.threshold: {problem}"


def threshold_problem(used: FeatureSet, threshold: float) -> str:
    """Why a rule can't give the set this threshold; empty if it can."""
    if used.condition is not None:
        return f"{used.id} has condition {used.condition.kind}, and its features have thresholds of their own"
    return out_of_range(used, threshold)


def out_of_range(used: FeatureSet, threshold: float | None = None) -> str:
    """Why scores of the set can't be compared with the threshold, by default its own; empty if they can."""
    detector = detector_of(used)
    return detector.scale.refusal(detector.threshold if threshold is None else threshold)
