"""ChosenAttributes: what alerts and telemetry say of an event besides what was found in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from monitor.config.feature_sets import ATTRIBUTE, FeatureSetsConfig
from monitor.events.event import Event

_MAX_CHARS = 256
"""Longest value that a rule can name and an alert carries."""


class ChosenAttributes:
    """The attributes that the config chooses. Tenant and environment are found as they are for rules."""

    def __init__(self, chosen: Sequence[str] = (), config: FeatureSetsConfig | None = None) -> None:
        config = config or FeatureSetsConfig()
        found = {"tenant": config.tenant_from, "environment": config.environment_from}
        self._origins = {name: found.get(name, (f"{ATTRIBUTE}{name}",)) for name in chosen}

    def of(self, event: Event) -> dict[str, str]:
        """Those that the event has, in the config's order."""
        values = ((name, value_of(event, origins)) for name, origins in self._origins.items())
        return {name: value for name, value in values if value is not None}


NONE_CHOSEN = ChosenAttributes()


def value_of(event: Event, origins: Sequence[str]) -> str | None:
    """The first value that the event has; one that is too long is none."""
    for origin in origins:
        name = origin.partition(":")[2]
        value = _attribute(event.attributes, name) if origin.startswith(ATTRIBUTE) else event.header(name)
        if value and len(value) <= _MAX_CHARS:
            return value
    return None


def _attribute(attributes: Mapping[str, Any], name: str) -> str | None:
    """The attribute of that name, also if its dots stand for objects within objects."""
    found: Any = attributes.get(name)
    if found is None and "." in name:
        found = attributes
        for step in name.split("."):
            found = found.get(step) if isinstance(found, Mapping) else None
    if isinstance(found, bool) or not isinstance(found, str | int):
        return None
    return str(found)
