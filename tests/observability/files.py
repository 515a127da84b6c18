"""The files of the observability stack as the tests read them."""

from __future__ import annotations

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
