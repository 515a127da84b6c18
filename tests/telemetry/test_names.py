"""The names table: complete, unambiguous, and documented."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from monitor.telemetry import names as names
from monitor.telemetry.name_table import TABLE

DOCS = (Path(__file__).parents[2] / "docs" / "telemetry.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_every_name_is_documented(row: names.Name) -> None:
    line = next((text for text in DOCS.splitlines() if text.startswith(f"| `{row.name}`")), None)
    assert line is not None, f"docs/telemetry.md has no row for {row.name}"
    assert row.description in line
    if row in names.METRICS:
        assert f"`{names.prometheus_name(row)}`" in line
        assert f"| {row.kind} | {row.unit or '-'} |" in line


def test_the_docs_name_no_metric_that_does_not_exist() -> None:
    known = {names.prometheus_name(row) for row in names.METRICS}
    known |= {row.name.replace(".", "_") for row in TABLE}
    found = set(re.findall(r"(?<![\w.])(?:latentwatch|messaging)_\w+", DOCS))
    assert {re.sub(r"(?<=_seconds)_(sum|count|bucket)$", "", name) for name in found} <= known


def test_names_are_unique_and_attributes_have_rows() -> None:
    listed = [row.name for row in TABLE]
    assert len(listed) == len(set(listed))
    described = {row.name for row in TABLE if row.kind == "attribute"}
    used = {attribute for row in TABLE for attribute in row.attributes}
    assert used == described


def test_every_constant_is_in_the_table() -> None:
    listed = {row.name for row in TABLE}
    constants = {v for k, v in vars(names).items() if k.isupper() and isinstance(v, str)}
    assert constants <= listed


def test_units_are_ucum() -> None:
    for row in names.METRICS:
        assert row.unit in ("", "s", "By") or re.fullmatch(r"\{[a-z]+\}", row.unit), row.name
