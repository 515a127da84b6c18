"""Throw-away packages: files and entry points in a folder on the path, as pip would leave them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

EntryPoints = Mapping[str, Mapping[str, str]]
"""By group, the value of each name."""


def write_package(
    site: Path, name: str, entry_points: EntryPoints, files: Mapping[str, str], version: str = "1.0"
) -> None:
    """Writes package `name` into the folder `site`; `files` by path."""
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    groups = (
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in names.items())
        for group, names in entry_points.items()
    )
    (info / "entry_points.txt").write_text("\n".join(groups))
    for path, text in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)


@contextmanager
def installed(site: Path) -> Iterator[None]:
    """Puts the packages in `site` on the path; afterwards nothing remembers them."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        yield
    for module in set(sys.modules) - before:
        if str(getattr(sys.modules[module], "__file__", "")).startswith(str(site)):
            del sys.modules[module]
