"""docs/guarantees.md and SECURITY.md name tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
SECURITY = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/\S+\.py)::(\w+)`", TEXT + SECURITY)))


@pytest.mark.parametrize(("file", "name"), NAMED, ids="::".join)
def test_every_named_test_exists(file: str, name: str) -> None:
    assert re.search(rf"^def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)


def test_every_guarantee_and_every_fault_has_a_test() -> None:
    guarantees = re.findall(r"^- .*?(?=^- |\n\n|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    faults = [line for line in TEXT.splitlines() if re.match(r"\| (?!Fault|Guarantee|---|at_least|exactly)", line)]
    assert len(guarantees) > 10
    assert len(faults) > 10
    assert [text for text in (*guarantees, *faults) if "::test_" not in text] == []


def test_every_file_of_tests_that_the_threat_model_names_exists() -> None:
    named = set(re.findall(r"`(tests/[\w/]+\.py)`", SECURITY))
    assert named
    assert [file for file in named if not (ROOT / file).is_file()] == []
