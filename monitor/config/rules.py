"""Rule: changes to feature sets for some events, by tenant, environment, served model or topic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from detectors.feature_set import Severity
from detectors.frozen_model import Finite
from monitor.config.section import Section
from monitor.config.wildcard import Wildcards

ALL_SETS = "*"
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]
Text = Annotated[str, Field(min_length=1, max_length=256)]


def one_or_more(item: Any) -> BeforeValidator:
    """One item of a list may be written without brackets."""
    schema = item | tuple[item, ...]
    return BeforeValidator(lambda value: [value] if isinstance(value, str) else value, json_schema_input_type=schema)


Texts = Annotated[tuple[Text, ...], Field(max_length=100), one_or_more(Text)]


class RuleScope(Section):
    """Which events a rule is for: those that match every key that is given."""

    tenant: Texts = ()
    """Values of feature_sets.tenant_from; `*` stands for any text, here and below."""
    environment: Texts = ()
    """Values of feature_sets.environment_from."""
    model: Texts = ()
    """Models that wrote the response, according to the event."""
    topic: Texts = ()
    """Topics that the event came from; in a scan, files."""

    @model_validator(mode="after")
    def _names_something(self) -> RuleScope:
        if not any(patterns for _, patterns in self):
            raise ValueError("needs tenant, environment, model or topic; for all events, use feature_sets.overrides")
        return self

    def scope(self) -> Scope:
        """The same in the form that is compared with events."""
        return Scope(tuple(Wildcards.of(patterns) if patterns else None for _, patterns in self))


@dataclass(frozen=True)
class Scope:
    """Patterns for tenant, environment, model and topic, in this order; None if any value will do."""

    patterns: tuple[Wildcards | None, ...]

    def matches(self, values: Sequence[str | None]) -> bool:
        """Whether it is about events with these values; a value that an event does not have matches no pattern."""
        return all(
            of is None or (value is not None and of.matches(value))
            for of, value in zip(self.patterns, values, strict=True)
        )

    def covers(self, other: Scope) -> bool:
        """Whether every event of `other` is one of its own."""
        return all(
            mine is None or (theirs is not None and mine.covers(theirs))
            for mine, theirs in zip(self.patterns, other.patterns, strict=True)
        )


class SetChange(Section):
    """What a rule changes of one set. Keys that are omitted stay as they are."""

    enabled: bool | None = None
    """Whether the set evaluates these events."""
    severity: Severity | None = None
    """Severity of its alerts; also replaces the set's escalations."""
    threshold: Finite | None = None
    """Lowest score at which the set is active; for sets without a `condition`."""

    @model_validator(mode="after")
    def _changes_something(self) -> SetChange:
        if self == SetChange.model_construct():
            raise ValueError("changes nothing: give enabled, severity or threshold")
        return self


class Rule(Section):
    """Changes for the events that `when` is about. Of several rules that change the same, the last one counts."""

    name: Name
    """What alerts, metrics and messages call it."""
    when: RuleScope
    """Which events it is for."""
    sampling: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of these events that is read, chosen by a hash of their ids; all others are only counted."""
    sets: dict[str, SetChange] = Field(default_factory=dict, max_length=1_000)
    """Changes by set id; `*` is for all sets, and an id in the same rule goes before it."""

    @model_validator(mode="after")
    def _does_something(self) -> Rule:
        if self.sampling is None and not self.sets:
            raise ValueError("changes nothing: give sampling or sets")
        every = self.sets.get(ALL_SETS)
        if every is not None and every.threshold is not None:
            raise ValueError(
                f"sets.{ALL_SETS}.threshold: scores of different sets mean different things; name each set"
            )
        return self

    def effects(self) -> Iterator[tuple[str, str]]:
        """What it decides, as (set id, key); sampling as ("", "sampling")."""
        if self.sampling is not None:
            yield "", "sampling"
        for set_id, change in self.sets.items():
            yield from ((set_id, key) for key, value in change if value is not None)


def check_rules(rules: Sequence[Rule]) -> Sequence[Rule]:
    """The rules. Raises ValueError if two have one name, or if later rules leave nothing to one."""
    seen: set[str] = set()
    scopes = [rule.when.scope() for rule in rules]
    effects = [set(rule.effects()) for rule in rules]
    for n, rule in enumerate(rules):
        if rule.name in seen:
            raise ValueError(f"{rule.name}: two rules have this name; alerts name the rule, so give each its own")
        seen.add(rule.name)
        for later in range(n + 1, len(rules)):
            if _decide(effects[later], effects[n]) and scopes[later].covers(scopes[n]):
                raise ValueError(
                    f"{rule.name}: never counts, because {rules[later].name} comes later and decides the same for all "
                    "of its events; remove it, or move it behind"
                )
    return rules


def _decide(these: Set[tuple[str, str]], those: Set[tuple[str, str]]) -> bool:
    """Whether all that `those` effects decide is decided by `these` as well."""
    return those <= these or all((of, what) in these or (ALL_SETS, what) in these for of, what in those)
