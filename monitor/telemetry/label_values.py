"""LabelValues: attributes of events as metric labels, of which there are never too many."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from monitor.telemetry import names as names

OTHER = "other"
LIMIT = 50


class LabelValues:
    """The first combinations of values are labels as they are; all later ones become `other`."""

    def __init__(self, on_new: Callable[[Mapping[str, str]], None], limit: int = LIMIT) -> None:
        """`on_new` is called with every combination of labels once, before its first use."""
        self._on_new = on_new
        self._limit = limit
        self._known: dict[tuple[tuple[str, str], ...], Mapping[str, str]] = {}
        self._others: dict[tuple[str, ...], Mapping[str, str]] = {}

    def labels(self, attributes: Mapping[str, str]) -> Mapping[str, str]:
        """The labels for an event with these attributes."""
        key = tuple(attributes.items())
        found = self._known.get(key)
        if found is None and len(self._known) < self._limit:
            found = self._known[key] = self._made(attributes)
        if found is not None:
            return found
        which = tuple(attributes)
        if which not in self._others:  # as many as there are subsets of the chosen attributes, which are few
            self._others[which] = self._made(dict.fromkeys(attributes, OTHER))
        return self._others[which]

    def combinations(self) -> list[Mapping[str, str]]:
        """All labels so far."""
        return [*self._known.values(), *self._others.values()]

    def _made(self, attributes: Mapping[str, str]) -> Mapping[str, str]:
        labels = event_attributes(attributes)
        self._on_new(labels)
        return labels


def event_attributes(attributes: Mapping[str, str]) -> dict[str, str]:
    """The chosen attributes of an event under the names that telemetry gives them."""
    return {names.ATTRIBUTE.format(name=name): value for name, value in attributes.items()}
