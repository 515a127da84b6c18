"""docs/sae-formats.md holds the table that `python -m tests.sae.formats.table` prints."""

from __future__ import annotations

from pathlib import Path

from tests.sae.formats.table import HEADER, rows

PAGE = Path(__file__).parents[3] / "docs" / "sae-formats.md"


def test_the_page_has_the_rows_that_the_command_prints() -> None:
    assert "\n".join([*HEADER, *rows(measured=False)]) in PAGE.read_text(encoding="utf-8")
