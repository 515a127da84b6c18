"""docs/alerts.md has every field of the schema and no others; its example is an alert."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from detectors.feature_set import SEVERITIES
from monitor.alerts.alert import Alert, alert_id, alert_schema

DOCS = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text(encoding="utf-8")
SCHEMA = alert_schema()
ROWS = dict(re.findall(r"^\| `([a-z_.\[\]0-9]+)` \| (.+) \|$", DOCS, re.MULTILINE))


def fields(schema: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """The path of every field; `[]` for the items of an array."""
    for name, value in schema["properties"].items():
        yield f"{prefix}{name}"
        yield from _inside(value, f"{prefix}{name}")


def _inside(value: dict[str, Any], path: str) -> Iterator[str]:
    for option in value.get("anyOf", [value]):
        if "$ref" in option:
            yield from fields(SCHEMA["$defs"][option["$ref"].rsplit("/", 1)[1]], f"{path}.")
        elif isinstance(option.get("items"), dict):
            yield from _inside(option["items"], f"{path}[]")


FIELDS = list(fields(SCHEMA))


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_is_documented(field: str) -> None:
    assert field in ROWS, f"docs/alerts.md has no row for {field}"


def test_no_field_is_documented_that_does_not_exist() -> None:
    assert list(ROWS) == FIELDS
    assert len(FIELDS) > 40


def test_the_values_of_severity_are_documented() -> None:
    assert set(re.findall(r"`(\w+)`", ROWS["severity"])) == set(SEVERITIES)


def test_the_example_is_an_alert() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", DOCS, re.DOTALL)
    alert = Alert.from_json(example)
    jsonschema.Draft202012Validator(SCHEMA).validate(alert.model_dump(mode="json", by_alias=True))
    assert Alert.from_json(alert.to_json()) == alert
    assert alert.id == alert_id(alert.event.id, alert.set.id, alert.set.sha256)
