"""Every alert rule asks for what exists, has unit tests and a runbook."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.observability.files import REPOSITORY, RULE_TESTS, RULES, alert_rules, rules
from tests.observability.promql import NOT_OURS, grouping, known_labels, selectors

RECORDED = {rule["record"] for rule in rules() if "record" in rule}
promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (apt: prometheus)")


def _name(rule: dict[str, Any]) -> str:
    return str(rule.get("alert") or rule["record"])


@promtool
def test_promtool_accepts_the_rules() -> None:
    done = subprocess.run(["promtool", "check", "rules", "--lint-fatal", str(RULES)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@promtool
@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.name)
def test_the_rules_fire_as_their_unit_tests_say(path: Path) -> None:
    done = subprocess.run(["promtool", "test", "rules", str(path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("rule", alert_rules(), ids=_name)
def test_a_rule_has_a_unit_test_in_which_it_fires_and_one_in_which_it_does_not(rule: dict[str, Any]) -> None:
    wanted = re.compile(rf'alertname="{rule["alert"]}"')
    cases = [
        case
        for path in RULE_TESTS
        for test in yaml.safe_load(path.read_text())["tests"]
        for case in test["promql_expr_test"]
        if wanted.search(case["expr"])
    ]
    assert any(case["exp_samples"] for case in cases)
    assert any(not case["exp_samples"] for case in cases)


@pytest.mark.parametrize("rule", rules(), ids=_name)
def test_a_rule_asks_for_metrics_and_labels_that_exist(rule: dict[str, Any]) -> None:
    known = known_labels()
    labels = set(NOT_OURS)
    for found in selectors(rule["expr"]):
        if found.metric not in RECORDED:
            assert found.metric in known
            assert found.labels <= known[found.metric] | {"job"}
            assert 'job="latentwatch"' in found.text, "the chart replaces the job"
            labels |= known[found.metric]
        else:
            labels |= {label.replace(".", "_") for label in ("latentwatch.set.id", "latentwatch.feature.index")}
    assert grouping(rule["expr"]) <= labels
    told = set(re.findall(r"\$labels\.(\w+)", str(rule.get("annotations"))))
    assert told <= labels


@pytest.mark.parametrize("rule", alert_rules(), ids=_name)
def test_a_rule_says_how_bad_it_is_and_what_it_means(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}


def test_every_alert_has_a_section_in_the_runbooks_and_every_section_an_alert() -> None:
    page = (REPOSITORY / "docs/runbooks.md").read_text()
    sections = dict(re.findall(r"^## (Latentwatch\w+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    assert list(sections) == [rule["alert"] for rule in alert_rules()]
    for rule in alert_rules():
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks.md#{rule['alert'].lower()}"
        for part in ("**Meaning.**", "**Look at.**", "**Do.**"):
            assert part in sections[rule["alert"]], rule["alert"]


def test_the_page_on_observability_lists_every_alert() -> None:
    page = (REPOSITORY / "docs/observability.md").read_text()
    table = page[page.index("## Alert rules") :].split("There is no rule")[0]
    assert set(re.findall(r"Latentwatch\w+", table)) == {rule["alert"] for rule in alert_rules()}
