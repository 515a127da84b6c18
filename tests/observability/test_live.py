"""Every query of rules and dashboards, against a real Prometheus that scrapes a real sidecar under sample traffic."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from monitor.demo.broker import EmbeddedBroker
from monitor.demo.stack.prometheus import Prometheus
from monitor.demo.stack.stack import Stack, StackFiles
from tests.observability.files import REPOSITORY, dashboards, panel_queries, rules
from tests.observability.promql import selectors
from tests.otlp_receiver import OtlpReceiver

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.model,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="Prometheus is not installed (apt: prometheus)"),
]

EVENTS = 24
"""In each of two portions: a rate needs two scrapes of a series with events between them."""
ONLY_OVER_HTTP = "latentwatch_intake_refused_total"
NEEDS_DAYS = "latentwatch:feature_active:ratio_7d"
ALLOWED = {"name": "known", "system_pattern": "You are the assistant of*", "sets": ["*"]}
SIDECAR = {"feature_sets": {"allow": [ALLOWED]}}
QUERIES = [
    pytest.param(query, id=f"{name}: {title}")
    for name, board in dashboards().items()
    for title, query in panel_queries(board)
]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """After sample traffic with alerts and a record that is no event."""
    out = tmp_path_factory.mktemp("stack")
    with OtlpReceiver() as otlp:
        files = StackFiles(REPOSITORY / "deploy", out, sidecar=SIDECAR, otlp=otlp.url)
        with Stack(files, EmbeddedBroker()) as stack:
            assert stack.prometheus is not None
            found = stack.prometheus
            stack.wait_ready()
            for sent in (EVENTS, 2 * EVENTS):
                stack.traffic.send(EVENTS)
                stack.until(lambda sent=sent: _total(found, "latentwatch_records_total") == sent, "commits", 120)
            stack.until(
                lambda: _total(found, 'ALERTS{alertname="LatentwatchDeadLetters"}') > 0, "an alert of a rule", 60
            )
            yield found


def _total(prometheus: Prometheus, selector: str) -> float:
    return sum(series.value for series in prometheus.query(f"sum({selector})"))


@pytest.mark.parametrize("query", QUERIES)
def test_a_panel_has_data(prometheus: Prometheus, query: str) -> None:
    for found in selectors(query):
        assert prometheus.query(found.text), found.text
    assert prometheus.query(query)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_asks_for_data_that_is_there(prometheus: Prometheus, rule: dict[str, str]) -> None:
    prometheus.query(rule["expr"])
    for found in selectors(rule["expr"]):
        if found.metric not in (ONLY_OVER_HTTP, NEEDS_DAYS):
            assert prometheus.query(found.text), found.text
