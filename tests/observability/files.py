"""The files of the observability stack as the tests read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[2]
STACK = REPOSITORY / "deploy/observability"
RULES = REPOSITORY / "deploy/helm/latentwatch/rules/latentwatch.yaml"
DASHBOARDS = REPOSITORY / "deploy/helm/latentwatch/dashboards"
RULE_TESTS = sorted(STACK.glob("rules*_test.yaml"))


def rules() -> list[dict[str, Any]]:
    """Every rule of every group."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def alert_rules() -> list[dict[str, Any]]:
    """The rules that raise alerts."""
    return [rule for rule in rules() if "alert" in rule]


def dashboards() -> dict[str, dict[str, Any]]:
    """Every dashboard by the name of its file."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(DASHBOARDS.glob("*.json"))}


def panel_queries(dashboard: dict[str, Any]) -> list[tuple[str, str]]:
    """Title and PromQL of every target, with all values of the variables."""
    filled = {"$__rate_interval": "1m", "$job": "latentwatch"}
    for variable in dashboard["templating"]["list"]:
        filled.setdefault(f"${variable['name']}", ".*")
    found = []
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            query = target["expr"]
            for name, value in filled.items():
                query = query.replace(name, value)
            found.append((f"{panel['title']} {target['refId']}", query))
    return found
