"""Monitors find the port, and alert rules and dashboards use metrics that exist."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import promql_parser
import pytest

from monitor.telemetry import names
from tests.deploy.helm import VALUES, Helm
from tests.deploy.manifest import documents_of, sidecar, the


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


@pytest.mark.parametrize("scenario", ["standalone", "sidecar"])
def test_rules_ask_for_metrics_and_labels_that_exist(helm: Helm, scenario: str) -> None:
    rule = the(helm.documents(scenario), "PrometheusRule")
    (group,) = rule["spec"]["groups"]
    metrics = {name for row in _documented_rows() for name in re.findall(r"`(latentwatch_\w+)`", row)}
    labels = {"namespace", "job"} | {
        name.replace(".", "_") for row in _documented_rows() for name in re.findall(r"`([a-z_.0-9]+)`", row)
    }
    assert len(group["rules"]) >= 6
    for alert in group["rules"]:
        promql_parser.parse(alert["expr"])
        used = set(re.findall(r"\b(latentwatch_\w+)(?=\{)", alert["expr"]))
        assert used, alert["alert"]
        assert used <= metrics, alert["alert"]
        assert f'{{job="{rule["metadata"]["name"]}"}}' in alert["expr"]
        grouped = {n.strip() for by in re.findall(r"by \(([^)]*)\)", alert["expr"]) for n in by.split(",")}
        told = set(re.findall(r"\$labels\.(\w+)", str(alert["annotations"])))
        assert grouped <= labels, alert["alert"]
        assert told <= grouped, alert["alert"]
        assert alert["labels"]["severity"] in ("warning", "critical")


def test_no_pod_is_no_alarm_if_keda_may_stop_them_all(helm: Helm) -> None:
    def alerts(least: int) -> set[str]:
        values = {"autoscaling": {"minReplicas": least}, "monitoring": {"prometheusRule": {"enabled": True}}}
        (group,) = the(helm.documents("keda", values), "PrometheusRule")["spec"]["groups"]
        return {rule["alert"] for rule in group["rules"]}

    assert alerts(1) - alerts(0) == {"LatentwatchAbsent"}


def _documented_rows() -> list[str]:
    """The table of metrics in docs/telemetry.md, which a test of telemetry compares with the code."""
    text = (Path(names.__file__).parents[2] / "docs/telemetry.md").read_text()
    return [line for line in text.splitlines() if line.startswith("| `") and "<br>" in line]


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
