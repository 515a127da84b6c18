"""`latentwatch cache`: what is there, and that what is in use stays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from monitor.assembly.cache_folder import CacheFolder
from monitor.cli.app import app


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config whose cache holds two bundles and a converted model."""
    for folder, size in (("bundles/small-1", 3_000_000), ("bundles/small-2", 1_000_000), ("models/small", 2_000_000)):
        (tmp_path / "cache" / folder).mkdir(parents=True)
        (tmp_path / "cache" / folder / "data").write_bytes(bytes(size))
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps({"reader": {"cache_dir": str(tmp_path / "cache")}}))
    return path


def cache(command: str, config: Path) -> str:
    done = CliRunner().invoke(app, ["cache", command, "--config", str(config)], env={"COLUMNS": "120"})
    assert done.exit_code == 0, done.output
    return done.output


def test_list(config: Path, tmp_path: Path) -> None:
    lease = CacheFolder(tmp_path / "cache" / "bundles").lease(tmp_path / "cache" / "bundles" / "small-2")
    found = cache("list", config)
    rows = [line.split() for line in found.splitlines() if "small" in line]
    assert [("small-1" in row, "yes" in row) for row in rows] == [(False, True), (True, False), (False, False)]
    assert f"{tmp_path / 'cache'}: 6 MB" in found
    assert lease is not None


def test_clear_keeps_what_is_in_use(config: Path, tmp_path: Path) -> None:
    lease = CacheFolder(tmp_path / "cache" / "bundles").lease(tmp_path / "cache" / "bundles" / "small-2")
    found = cache("clear", config)
    assert "kept small-2: in use" in found
    assert f"{tmp_path / 'cache'}: 5 MB freed" in found
    assert sorted(p.name for p in (tmp_path / "cache").glob("*/*")) == ["small-2"]
    assert lease is not None


def test_an_empty_cache(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps({"reader": {"cache_dir": str(tmp_path / "none")}}))
    assert cache("list", path) == f"{tmp_path / 'none'}: 0 MB\n"
    assert cache("clear", path) == f"{tmp_path / 'none'}: 0 MB freed\n"
