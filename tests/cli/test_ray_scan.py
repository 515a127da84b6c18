"""The options of `latentwatch scan --engine ray`, and what ends it before any cluster starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from monitor.cli.app import app
from monitor.errors import ConfigError
from monitor.scale.part_scanner import PartScanner
from monitor.scale.parts import find_parts
from tests.feature_set_factory import write_set
from tests.scale.sample_events import write_jsonl
from tests.test_pipeline import SmallEngine


def scan(*arguments: object) -> None:
    CliRunner().invoke(app, ["scan", *map(str, arguments)], catch_exceptions=False, standalone_mode=False)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    sets = write_set(tmp_path / "sets" / "a.yaml")
    monkeypatch.setenv("LATENTWATCH__FEATURE_SETS__PATHS", json.dumps([str(sets)]))
    write_jsonl(tmp_path / "in" / "a.jsonl", 3)
    return tmp_path / "in"


def test_options_of_the_other_engine_are_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--workers: only --engine ray has workers"):
        scan(source / "a.jsonl", "--workers", 2)
    with pytest.raises(ConfigError, match="--out: --engine ray needs a folder or a URI"):
        scan(source, "--engine", "ray")
    with pytest.raises(ConfigError, match="--bad: --engine ray writes records that cannot be read into the results"):
        scan(source, "--engine", "ray", "--out", tmp_path / "out", "--bad", tmp_path / "bad")


def test_a_scan_that_is_done_starts_no_cluster(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from monitor.scale import ray_scan

    out = tmp_path / "out"
    scanned: list[int] = []

    def in_this_process(parts, config, out, make_engine, workers):  # type: ignore[no-untyped-def]
        scanned.append(len(parts))
        assert (config.reader.threads, workers) == (1, 2)
        scanner = PartScanner(config, out, lambda _: SmallEngine())  # type: ignore[arg-type,return-value]
        return [scanner.scan(part) for part in parts]

    monkeypatch.setattr(ray_scan, "scan_with_ray", in_this_process)
    for _ in range(2):
        scan(source, "--engine", "ray", "--out", out, "--workers", 2)
    assert scanned == [1]
    assert {path.name for path in out.iterdir()} == {"_scan.json", find_parts(str(source))[0].name}
    with pytest.raises(ConfigError, match="has results made with another config"):
        scan(source, "--engine", "ray", "--out", out, "--capture-content")
