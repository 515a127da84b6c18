"""The names table: complete, unambiguous, and documented."""

from __future__ import annotations

import re

from monitor.telemetry import names as names
from monitor.telemetry.name_table import SPANS, TABLE
from tests.telemetry.documented_names import PAGE, with_tables

DOCS = PAGE.read_text(encoding="utf-8")


def test_the_page_has_the_tables_of_today() -> None:
    assert with_tables(DOCS) == DOCS, "run: python -m tests.telemetry.documented_names"
    for row in TABLE:
        assert f"| `{row.name}`" in DOCS


def test_every_span_is_in_the_table() -> None:
    assert [row for row in vars(names).values() if isinstance(row, names.Name)] == [*names.METRICS, *SPANS]


def test_the_docs_name_no_metric_that_does_not_exist() -> None:
    known = {names.prometheus_name(row) for row in names.METRICS}
    known |= {row.name.replace(".", "_") for row in TABLE}
    found = set(re.findall(r"(?<![\w.])(?:latentwatch|messaging)_\w+", DOCS))
    known |= {f"{name}_{part}" for name in known for part in ("sum", "count", "bucket")}
    assert {name for name in found if not name.startswith("latentwatch_attribute_")} <= known


def test_names_are_unique_and_attributes_have_rows() -> None:
    listed = [row.name for row in TABLE]
    assert len(listed) == len(set(listed))
    described = {row.name for row in TABLE if row.kind == "attribute"}
    used = {attribute for row in TABLE for attribute in row.attributes}
    assert used == described


def test_every_constant_is_in_the_table() -> None:
    listed = {row.name for row in TABLE}
    constants = {v for k, v in vars(names).items() if k.isupper() and isinstance(v, str)} - {names.SCHEMA_URL}
    assert constants <= listed


def test_units_are_ucum() -> None:
    for row in names.METRICS:
        assert row.unit in ("", "s", "By") or re.fullmatch(r"\{[a-z]+\}", row.unit), row.name
