"""The dashboards are what Grafana 10 imports, and ask for metrics and labels that exist."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any

import pytest

from tests.observability.files import dashboards, panel_queries
from tests.observability.promql import NOT_OURS, grouping, known_labels, selectors

BOARDS = dashboards()
QUERIES = [
    pytest.param(query, id=f"{name}: {title}")
    for name, board in BOARDS.items()
    for title, query in panel_queries(board)
]
boards = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
KNOWN = known_labels() | {
    "ALERTS": {"alertname", "alertstate", "severity"},
    "process_cpu_seconds_total": set(),
    "process_resident_memory_bytes": set(),
}


def test_there_is_one_for_everything_that_people_ask() -> None:
    assert set(BOARDS) == {"overview", "category", "tenant", "performance"}
    assert len({board["uid"] for board in BOARDS.values()}) == len(BOARDS)


@boards
def test_every_query_goes_to_the_data_source_that_is_chosen(board: dict[str, Any]) -> None:
    variables = {v["name"]: v for v in board["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    asked = [*board["panels"], *(t for p in board["panels"] for t in p["targets"])]
    asked += [v for v in variables.values() if v["type"] == "query"]
    for each in asked:
        assert each["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    for _, query in ((p["title"], t["expr"]) for p in board["panels"] for t in p["targets"]):
        assert set(re.findall(r"\$(\w+)", query)) <= {*variables, "__rate_interval"}


@boards
def test_panels_explain_themselves_and_do_not_overlap(board: dict[str, Any]) -> None:
    assert board["schemaVersion"] >= 38
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in board["panels"]:
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    for one, other in combinations([panel["gridPos"] for panel in board["panels"]], 2):
        apart = any(
            first[at] + first[size] <= second[at]
            for first, second in ((one, other), (other, one))
            for at, size in (("x", "w"), ("y", "h"))
        )
        assert apart


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_asks_for_metrics_and_labels_that_exist(query: str) -> None:
    labels = NOT_OURS | {"alertname", "severity"}
    for found in selectors(query):
        assert found.metric in KNOWN
        assert found.labels <= KNOWN[found.metric] | {"job", "namespace"}
        labels |= KNOWN[found.metric]
    assert grouping(query) <= labels


@pytest.mark.parametrize(
    "query", [v["definition"] for b in BOARDS.values() for v in b["templating"]["list"] if v["type"] == "query"]
)
def test_a_variable_lists_the_values_of_a_label_that_exists(query: str) -> None:
    asked = re.fullmatch(r'label_values\((\w+)(?:\{job=~"\$job"\})?, (\w+)\)', query)
    assert asked is not None
    assert asked[2] in KNOWN[asked[1]] | NOT_OURS
