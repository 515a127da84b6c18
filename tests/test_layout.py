"""The layout of the code: small files, in folders that show the way of an event."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(path for folder in ("monitor", "detectors") for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_has_400_lines_at_most(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_every_folder_and_flat_file_of_monitor_has_its_place_in_the_import_order() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (order,) = (c for c in contracts if c["type"] == "layers" and c["containers"] == ["monitor"])
    placed = {name.strip() for layer in order["layers"] for name in layer.split("|")}
    found = {
        path.stem for path in (ROOT / "monitor").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert order["exhaustive"] is True
    assert found - {"__init__", "__main__"} == placed


def test_contributing_names_the_stations_of_an_event_in_order() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text[text.index("## Find your way") :].split("\n## ")[0]
    stations = ("sources/", "events/", "tokens/", "readers/", "engine.py", "detectors/", "alerts/", "sinks/")
    places = [section.index(f"`{station}`") for station in stations]
    assert places == sorted(places)
    for station in stations:
        assert (ROOT / ("." if station == "detectors/" else "monitor") / station).exists()
