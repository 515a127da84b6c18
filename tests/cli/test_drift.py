import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from monitor.cli.app import app
from monitor.errors import ConfigError
from tests.drift.snapshots import snapshot

BEFORE, AFTER = "2026-11-01T00:00/2026-11-01T02:00", "2026-11-01T02:00/2026-11-01T04:00"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "snapshots.jsonl"
    rows = [snapshot(hour=hour, fired=20 if hour < 2 else 60) for hour in range(4)]
    path.write_text("".join(row.to_json() + "\n" for row in rows))
    return path


def test_two_windows_of_the_configured_file(file: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"drift: {{path: {file}}}\n")
    args = ["drift", "--baseline", BEFORE, "--current", AFTER, "--config", str(config)]
    done = CliRunner().invoke(app, [*args, "--fail-on", "bias:+20%"], env={"COLUMNS": "200"})
    assert done.exit_code == 1
    assert "2.000% of 2000" in done.output
    assert "6.000% of 2000" in done.output
    assert "1 of 2 changed" in done.output
    assert CliRunner().invoke(app, [*args, "--fail-on", "-20%"]).exit_code == 0


def test_two_files_as_json(file: Path) -> None:
    done = CliRunner().invoke(
        app, ["drift", "--baseline", str(file), "--current", str(file), "--json", "--by", "model"]
    )
    assert done.exit_code == 0
    rows = json.loads(done.output)["rows"]
    assert [(row["set"], row["feature"], row["changed"]) for row in rows] == [("bias", None, False), ("bias", 7, False)]


def test_a_window_needs_snapshots() -> None:
    done = CliRunner().invoke(app, ["drift", "--baseline", BEFORE, "--current", AFTER])
    assert isinstance(done.exception, ConfigError)
    assert "--snapshots" in str(done.exception)
