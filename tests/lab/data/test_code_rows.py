"""Code of this machine as harmless rows."""

from __future__ import annotations

import random
from pathlib import Path

from monitor.lab.data.code_rows import python_rows, text_rows

BODY = [f"    total += {n}" for n in range(8)]


def test_functions_of_ordinary_length_become_rows(tmp_path: Path) -> None:
    good, short, broken = (tmp_path / name for name in ("good.py", "short.py", "broken.py"))
    good.write_text("\n".join(["def add(total):", '    """Adds up."""', *BODY, "    return total", ""]))
    short.write_text("def nothing():\n    pass\n")
    broken.write_text("def (:\n")
    (row,) = python_rows([good, short, broken], "stdlib", 10, random.Random(1))  # noqa: S311 - a sample
    assert (row["id"], row["label"], row["label_of"], row["source"]) == ("code-stdlib-0", 0, "response", "stdlib")
    assert "def add(total):" in str(row["response"])
    assert row["prompt"] in ("", "Write `add` in Python: Adds up.")


def test_excerpts_of_other_files_are_limited(tmp_path: Path) -> None:
    files = [tmp_path / f"{n}.sh" for n in range(5)]
    for file in files:
        file.write_text("echo line\n" * 50)
    (tmp_path / "wide.sh").write_text("x" * 300 + "\n" * 50)
    rows = list(text_rows([*files, tmp_path / "wide.sh"], "shell", 3, random.Random(1)))  # noqa: S311 - a sample
    assert len(rows) == 3
    assert all(10 <= len(str(row["response"]).splitlines()) < 35 for row in rows)
