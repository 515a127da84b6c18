"""The example of a CI job: it passes what a sidecar would take, says what changes, and fails otherwise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "examples" / "check-config.sh"


@pytest.mark.parametrize(
    ("changed", "code", "said"),
    [
        ("alerts: {top_tokens: 4}\n", 0, "alerts.top_tokens: 8 → 4"),
        ("", 0, "nothing changes"),
        ("alerts: {top_token: 4}\n", 2, "alerts.top_token: unknown key"),
    ],
)
def test_a_config_is_checked_and_compared(tmp_path: Path, changed: str, code: int, said: str) -> None:
    command = tmp_path / "latentwatch"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m monitor "$@"\n')
    command.chmod(0o755)
    (tmp_path / "deployed.yaml").write_text("")
    (tmp_path / "changed.yaml").write_text(changed)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    files = [tmp_path / "deployed.yaml", tmp_path / "changed.yaml"]
    done = subprocess.run([SCRIPT, *files], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert said in done.stdout
