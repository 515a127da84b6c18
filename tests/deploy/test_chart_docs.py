"""The chart's schema, table and version say the same as latentwatch and its values."""

from __future__ import annotations

import json
import tomllib

import jsonschema
import pytest
import yaml

from tests.deploy import documented_values, values_schema
from tests.deploy.helm import CHARTS
from tests.deploy.manifest import REPOSITORY

CHART = CHARTS / "latentwatch"
SCHEMA = json.loads(values_schema.FILE.read_text())


def test_the_schema_knows_the_config_of_this_version() -> None:
    fresh = values_schema.text(values_schema.with_config(json.loads(values_schema.FILE.read_text())))
    assert values_schema.FILE.read_text() == fresh, "run `python -m tests.deploy.values_schema`"


def test_the_defaults_fit_the_schema() -> None:
    jsonschema.validate(yaml.safe_load((CHART / "values.yaml").read_text()), SCHEMA)


def test_the_schema_has_the_keys_of_the_values_and_no_others() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert _closed(SCHEMA, values, "") == []


def _closed(schema: dict, values: dict, path: str) -> list[str]:
    """Sections that take any key although the chart reads only some, or whose keys differ from those of values.yaml."""
    problems = []
    for name, inner in schema["properties"].items():
        if path == "" and name in ("config", "global"):
            continue
        if name not in values:
            problems += [] if name == "claims" else [f"{path}{name} is not in values.yaml"]
        elif "properties" in inner:
            problems += _closed(inner, values[name], f"{path}{name}.")
    if schema.get("additionalProperties") is not False:
        problems.append(f"{path} takes any key")
    return problems


def test_the_readme_has_every_value() -> None:
    text = documented_values.VALUES.read_text()
    assert documented_values.undescribed(text) == []
    table = documented_values.table(text)
    assert table in (CHART / "README.md").read_text(), "run `python -m tests.deploy.documented_values`"


@pytest.mark.parametrize("chart", ["latentwatch", "examples/llm-server"])
def test_the_chart_has_the_version_of_the_project(chart: str) -> None:
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    found = yaml.safe_load((CHARTS / chart / "Chart.yaml").read_text())
    assert version in (found.get("appVersion"), found["version"])
