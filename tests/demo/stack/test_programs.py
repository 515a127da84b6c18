"""Programs are found by their names or a variable, and a missing one says how to get it."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.demo.stack.programs import ALERTMANAGER, COLLECTOR, PHOENIX, PROMETHEUS, Program


def executable(path: Path) -> Path:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_the_preferred_name_on_the_path_is_found(tmp_path: Path) -> None:
    debian = executable(tmp_path / "prometheus-alertmanager")
    assert ALERTMANAGER.find({"PATH": str(tmp_path)}) == str(debian)
    upstream = executable(tmp_path / "alertmanager")
    assert ALERTMANAGER.find({"PATH": str(tmp_path)}) == str(upstream)


def test_the_variable_comes_before_the_path(tmp_path: Path) -> None:
    executable(tmp_path / "otelcol")
    named = executable(tmp_path / "mine")
    assert COLLECTOR.find({"PATH": str(tmp_path), "OTELCOL_BIN": str(named)}) == str(named)
    assert COLLECTOR.find({"PATH": str(tmp_path), "OTELCOL_BIN": ""}) == str(tmp_path / "otelcol")


@pytest.mark.parametrize("program", [PROMETHEUS, ALERTMANAGER, COLLECTOR, PHOENIX], ids=lambda program: program.called)
def test_a_missing_one_says_what_is_missing_and_how_to_get_it(program: Program, tmp_path: Path) -> None:
    assert program.find({"PATH": str(tmp_path)}) is None
    told = program.missing()
    assert told.startswith(f"{program.called} is not installed: ")
    assert program.install in told
