"""What a PromQL query asks for: its metrics, and the labels that it compares or groups by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import promql_parser

from monitor.telemetry import names
from tests.telemetry.documented_names import prometheus_name

NOT_OURS = {"namespace", "instance", "job", "le"}
"""Labels that Prometheus, the operator or the histogram format adds."""


@dataclass(frozen=True)
class Selector:
    """One vector selector of a query."""

    metric: str
    labels: frozenset[str]
    text: str
    """Without range and offset, so that it can be queried on its own."""


def selectors(query: str) -> list[Selector]:
    """All of a query, in order. Raises ValueError if the query is not PromQL."""
    return list(_selectors(promql_parser.parse(query)))


def grouping(query: str) -> set[str]:
    """The labels in every `by`, `on` and `ignoring` of a query."""
    return {label for node in _nodes(promql_parser.parse(query)) for label in _modifier_labels(node)}


def known_labels() -> dict[str, set[str]]:
    """By name on /metrics, including the series of histograms: the labels that the table of names gives."""
    found: dict[str, set[str]] = {"up": set()}
    for row in names.METRICS:
        labels = {a.replace("{name}", "tenant").replace(".", "_") for a in row.attributes}
        name = prometheus_name(row)
        for suffix in ("_bucket", "_sum", "_count") if row.kind == "histogram" else ("",):
            found[name + suffix] = labels
    return found


def _selectors(node: Any) -> Iterator[Selector]:
    for each in _nodes(node):
        if isinstance(each, promql_parser.VectorSelector):
            matchers = each.matchers.matchers
            yield Selector(each.name, frozenset(m.name for m in matchers), f"{each.name}{each.matchers}")


def _nodes(node: Any) -> Iterator[Any]:
    yield node
    for attribute in ("lhs", "rhs", "expr", "vector_selector", "param"):
        child = getattr(node, attribute, None)
        if child is not None:
            yield from _nodes(child)
    for argument in getattr(node, "args", None) or ():
        yield from _nodes(argument)


def _modifier_labels(node: Any) -> list[str]:
    modifier = getattr(node, "modifier", None)
    found = [] if modifier is None else [getattr(modifier, "labels", None), getattr(modifier, "matching", None)]
    return [label for each in found if each is not None for label in getattr(each, "labels", each)]
