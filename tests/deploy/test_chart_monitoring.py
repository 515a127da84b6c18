"""Monitors find the port, and the chart brings alert rules and dashboards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.helm import VALUES, Helm
from tests.deploy.manifest import Document, documents_of, sidecar, the
from tests.observability.files import alert_rules, dashboards, rules


@pytest.mark.parametrize(
    ("scenario", "kind", "endpoints"),
    [
        ("standalone", "ServiceMonitor", "endpoints"),
        ("statefulset", "PodMonitor", "podMetricsEndpoints"),
        ("sidecar", "PodMonitor", "podMetricsEndpoints"),
    ],
)
def test_a_monitor_scrapes_the_metrics_port(helm: Helm, scenario: str, kind: str, endpoints: str) -> None:
    rendered = helm.documents(scenario)
    monitor = the(rendered, kind)
    (endpoint,) = monitor["spec"][endpoints]
    assert endpoint["port"] in [port["name"] for port in sidecar(rendered)["ports"]]
    assert endpoint["path"] == "/metrics"
    (relabeling,) = endpoint["relabelings"]
    assert (relabeling["targetLabel"], relabeling["replacement"]) == ("job", monitor["metadata"]["name"])


def rules_of(rule: Document) -> dict[str, dict[str, Any]]:
    """The rules of a PrometheusRule by name."""
    return {each.get("alert", each.get("record")): each for group in rule["spec"]["groups"] for each in group["rules"]}


@pytest.mark.parametrize("scenario", ["standalone", "sidecar"])
def test_the_rules_are_those_of_the_rules_file_for_the_releases_own_job(helm: Helm, scenario: str) -> None:
    rule = the(helm.documents(scenario), "PrometheusRule")
    job = f'job="{rule["metadata"]["name"]}"'
    assert "latentwatch" in job
    wanted = {each.get("alert", each.get("record")): each for each in rules()}
    for each in wanted.values():
        each["expr"] = each["expr"].replace('job="latentwatch"', job)
    assert rules_of(rule) == wanted


def test_the_limit_on_lag_the_runbooks_and_the_omitted_rules_are_values(helm: Helm) -> None:
    changed = {"enabled": True, "lag": 70, "omit": ["LatentwatchNoEvents"], "runbooks": "https://wiki.example/runbooks"}
    rule = the(helm.documents("standalone", {"monitoring": {"prometheusRule": changed}}), "PrometheusRule")
    found = rules_of(rule)
    assert found["LatentwatchLag"]["expr"].endswith(" > 70")
    assert found["LatentwatchLag"]["annotations"]["runbook_url"] == "https://wiki.example/runbooks#latentwatchlag"
    assert {each["alert"] for each in alert_rules()} - found.keys() == {"LatentwatchNoEvents"}


def test_no_pod_is_no_alarm_if_keda_may_stop_them_all(helm: Helm) -> None:
    def alerts(least: int) -> set[str]:
        values = {"autoscaling": {"minReplicas": least}, "monitoring": {"prometheusRule": {"enabled": True}}}
        return set(rules_of(the(helm.documents("keda", values), "PrometheusRule")))

    assert alerts(1) - alerts(0) == {"LatentwatchAbsent"}


def test_dashboards_come_from_the_charts_folder(helm: Helm, tmp_path: Path) -> None:
    chart = tmp_path / "latentwatch"
    shutil.copytree(helm.charts / "latentwatch", chart)
    args = ["template", "lw", str(chart), "--kube-version=1.29.0", "-f", str(VALUES / "hpa.yaml")]
    args += ["--set=monitoring.dashboards.enabled=true"]
    shutil.rmtree(chart / "dashboards", ignore_errors=True)
    assert [d for d in documents_of(helm.run(*args).stdout) if d["metadata"]["name"].endswith("-dashboards")] == []
    (chart / "dashboards").mkdir()
    (chart / "dashboards/overview.json").write_text('{"title": "{{instance}}"}')
    (found,) = [d for d in documents_of(helm.run(*args).stdout) if d["metadata"]["name"].endswith("-dashboards")]
    assert found["data"] == {"overview.json": '{"title": "{{instance}}"}'}
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_the_charts_own_dashboards_are_in_the_config_map(helm: Helm) -> None:
    rendered = helm.documents("hpa", {"monitoring": {"dashboards": {"enabled": True}}})
    (found,) = [d for d in rendered if d["metadata"]["name"].endswith("-dashboards")]
    assert {name: json.loads(text) for name, text in found["data"].items()} == {
        f"{name}.json": board for name, board in dashboards().items()
    }
