"""FeatureSetsConfig: which feature sets evaluate the events, and every change to them."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from detectors.feature_set import SetOverride
from monitor.config.allow import Allowed, check_allowed
from monitor.config.rules import Rule, check_rules, one_or_more
from monitor.config.section import Section

ATTRIBUTE, HEADER = "attribute:", "header:"
Origin = Annotated[str, Field(pattern=f"^({ATTRIBUTE}|{HEADER}).+$", max_length=256)]
Origins = Annotated[tuple[Origin, ...], Field(max_length=16), one_or_more(Origin)]


class FeatureSetsConfig(Section):
    """Which feature sets evaluate the events, and your changes to them."""

    paths: tuple[str, ...] = ("builtin:smollm2-135m-instruct",)
    """Feature-set files or folders of them; `builtin:NAME` is a folder that ships with latentwatch."""
    only: tuple[str, ...] = ()
    """Ids of the sets to use; empty means all."""
    overrides: dict[str, SetOverride] = Field(default_factory=dict)
    """For all events, by set id: enabled, severity, threshold, languages, features by index."""
    rules: Annotated[tuple[Rule, ...], Field(max_length=1_000), AfterValidator(check_rules)] = ()
    """For some events, in order: name, when, sampling, and sets by id with enabled, severity, threshold."""
    allow: Annotated[tuple[Allowed, ...], Field(max_length=1_000), AfterValidator(check_allowed)] = ()
    """System prompts that are known to be good: name, system_sha256, system_pattern, sets, segments."""
    tenant_from: Origins = (f"{ATTRIBUTE}tenant",)
    """Where an event names its tenant: `attribute:NAME` or `header:NAME`; the first that is there counts."""
    environment_from: Origins = (f"{ATTRIBUTE}environment", f"{ATTRIBUTE}deployment.environment.name")
    """Where an event names its environment, written in the same way."""
