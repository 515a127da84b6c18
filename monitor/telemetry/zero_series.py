"""zero_series: the series that counters start with at 0, because a rate needs a point before the first event."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import get_args

from monitor.config.rules import ALL_SETS
from monitor.config.sections import Config
from monitor.errors import BadEventKind, RetryableKind
from monitor.events.event import REPAIR_KINDS, UNREAD_PART_KINDS
from monitor.events.unread_range import UnreadKind
from monitor.sets.load import LoadedSet
from monitor.telemetry import names as names

DEAD_LETTERS = "dead_letter"
"""What metrics call the destination of records that are not valid events."""
RELOAD_OUTCOMES = ("applied", "unchanged", "refused")
Series = tuple[names.Name, Mapping[str, str]]


def common_series() -> Iterator[Series]:
    """Series that every process has."""
    for row in (names.TOKENS, names.CONFIRMED, names.TEMPLATE_FALLBACKS, names.WINDOWS, names.COMMITS):
        yield row, {}
    values: tuple[tuple[names.Name, str, Sequence[str]], ...] = (
        (names.SOURCE_UNREAD, names.ERROR_TYPE, get_args(UnreadKind)),
        (names.SOURCE_FAILURES, names.ERROR_TYPE, get_args(RetryableKind)),
        (names.BAD_EVENTS, names.ERROR_TYPE, get_args(BadEventKind)),
        (names.RECORDS, names.RECORD_OUTCOME, get_args(names.RecordOutcome)),
        (names.RELOADS, names.RELOAD_OUTCOME, RELOAD_OUTCOMES),
        (names.UNREAD_PARTS, names.PART_KIND, UNREAD_PART_KINDS),
        (names.REPAIRED, names.PART_KIND, REPAIR_KINDS),
        (names.SINK_FAILURES, names.SINK, (DEAD_LETTERS,)),
    )
    for row, attribute, kinds in values:
        for kind in kinds:
            yield row, {attribute: kind}


def configured_series(config: Config, sets: Sequence[LoadedSet]) -> Iterator[Series]:
    """Series of a configuration's sinks, rules and allow-list."""
    if not config.alerts.attributes:
        yield names.JUDGED, {}
    for sink in config.sinks.enabled():
        yield names.SINK_ALERTS, {names.SINK: sink}
        yield names.SINK_FAILURES, {names.SINK: sink}
        yield names.SINK_DROPPED, {names.SINK: sink}
    for rule in config.feature_sets.rules:
        if rule.sampling is not None:
            yield names.SAMPLED_OUT, {names.RULE: rule.name}
    for entry in config.feature_sets.allow:
        for loaded in sets:
            if loaded.set.id in entry.sets or ALL_SETS in entry.sets:
                yield names.ALERTS_SILENCED, {names.SET_ID: loaded.set.id, names.ALLOWED: entry.name}


def alert_series(config: Config, sets: Sequence[LoadedSet]) -> Iterator[Mapping[str, str]]:
    """The labels of every alert that the sets can make, without the attributes of events."""
    for loaded in sets:
        used = loaded.set
        changes = (rule.sets.get(name) for rule in config.feature_sets.rules for name in (ALL_SETS, used.id))
        by_rules = [change.severity for change in changes if change is not None and change.severity is not None]
        for severity in dict.fromkeys([used.severity, *(step.severity for step in used.escalations), *by_rules]):
            yield {names.SET_ID: used.id, names.CATEGORY: used.category, names.SEVERITY: severity}
