"""The files of a demo."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.demo.files import DemoFiles


def test_an_earlier_demo_leaves_nothing(tmp_path: Path) -> None:
    files = DemoFiles(tmp_path / "deep" / "out")
    files.prepare()
    files.alerts.write_text("old\n")
    other = files.folder / "mine.txt"
    other.write_text("keep")
    files.prepare()
    assert [p.name for p in files.folder.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("log", "step"),
    [
        ("", None),
        ("2026-01-01T00:00:00Z info    monitor: health and metrics on 127.0.0.1:9464\n", None),
        ("... info    monitor: compiling the reader, once, into /x\n", "compiling the reader"),
        (
            "monitor: compiling the reader (1 of 4: building)\nmonitor: compiling the reader (2 of 4: more)\nx\n",
            "compiling the reader (2 of 4: more)",
        ),
        (
            '{"message": "compiling the reader (3 of 4: scoring 400 events)"}\n',
            "compiling the reader (3 of 4: scoring 400 events)",
        ),
    ],
)
def test_the_step_of_compiling_is_the_last_in_the_log(tmp_path: Path, log: str, step: str | None) -> None:
    files = DemoFiles(tmp_path)
    files.log.write_text(log)
    assert files.compile_step() == step


def test_without_a_log_there_is_no_step_and_no_tail(tmp_path: Path) -> None:
    assert DemoFiles(tmp_path).compile_step() is None
    assert DemoFiles(tmp_path).log_tail() == ""


def test_the_tail_is_the_end_of_the_log(tmp_path: Path) -> None:
    files = DemoFiles(tmp_path)
    files.log.write_text("".join(f"line {n}\n" for n in range(30)))
    assert files.log_tail(2) == "line 28\nline 29"
