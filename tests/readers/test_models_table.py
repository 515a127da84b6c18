"""docs/models.md holds the table that `python -m tests.readers.models_table` prints."""

from __future__ import annotations

from pathlib import Path

from tests.readers.models_table import HEADER, rows

PAGE = Path(__file__).parents[2] / "docs" / "models.md"


def test_the_page_has_the_rows_that_the_command_prints() -> None:
    assert "\n".join([*HEADER, *rows()]) in PAGE.read_text(encoding="utf-8")
