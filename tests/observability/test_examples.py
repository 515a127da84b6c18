"""The example configurations of Prometheus and Alertmanager are valid, and name alerts that exist.

The Collector is also tested with a real sidecar, in tests/integration/test_otlp.py.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest
import yaml

from tests.observability.files import STACK, alert_rules

OF_THE_SINK = "LatentwatchFeatureActive"
"""Alerts of the sink alertmanager, which are not made by a rule."""
ALERTMANAGER = STACK / "alertmanager.yaml"
amtool = pytest.mark.skipif(
    shutil.which("amtool") is None, reason="amtool is not installed (apt: prometheus-alertmanager)"
)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (apt: prometheus)")
def test_promtool_accepts_the_example_and_finds_the_rules() -> None:
    assert "1 rule files found" in _run("promtool", "check", "config", str(STACK / "prometheus.yaml"))


@pytest.mark.parametrize("files", [["otel-collector.yaml"], ["otel-collector.yaml", "otel-collector-phoenix.yaml"]])
def test_the_collector_accepts_its_examples(files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    binary = os.environ.get("OTELCOL_BIN")
    if binary is None:
        pytest.skip("OTELCOL_BIN does not name an OpenTelemetry Collector")
    monkeypatch.setenv("PHOENIX_URL", "http://127.0.0.1:6006")
    _run(binary, "validate", *(f"--config={STACK / name}" for name in files))


@amtool
def test_amtool_accepts_the_example() -> None:
    assert "8 inhibit rules" in _run("amtool", "check-config", str(ALERTMANAGER))


@amtool
@pytest.mark.parametrize(
    ("alert", "severity", "receiver"),
    [
        ("LatentwatchDown", "critical", "on-call"),
        ("LatentwatchLag", "warning", "operations"),
        ("LatentwatchTenantAlertBurst", "warning", "reviewers"),
        ("LatentwatchCanarySilent", "critical", "on-call"),
        (OF_THE_SINK, "critical", "reviewers"),
    ],
)
def test_an_alert_reaches_those_whom_it_concerns(alert: str, severity: str, receiver: str) -> None:
    labels = (f"alertname={alert}", f"severity={severity}")
    found = _run("amtool", "config", "routes", "test", f"--config.file={ALERTMANAGER}", *labels)
    assert found.strip() == receiver


def test_every_alert_that_it_names_exists() -> None:
    named = set(re.findall(r"Latentwatch[A-Z]\w+", ALERTMANAGER.read_text()))
    assert named
    assert named <= {rule["alert"] for rule in alert_rules()} | {OF_THE_SINK}


def test_no_alert_inhibits_itself() -> None:
    for rule in yaml.safe_load(ALERTMANAGER.read_text())["inhibit_rules"]:
        source, target = (
            set(re.findall(r"Latentwatch\w+", str(rule[f"{end}_matchers"]))) for end in ("source", "target")
        )
        assert not source & target
