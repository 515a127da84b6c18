"""deploy/requirements: all that the image installs, by version and hash, in the versions of the constraints."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.deploy.locked import LOCKED, locked, locked_packages
from tests.deploy.manifest import REPOSITORY

FILES = sorted(path.name for path in LOCKED.glob("*.txt"))
EXTRAS = {
    "runtime.txt": ("avro", "http", "review", "review-postgres"),
    "builder.txt": ("avro", "http", "review", "review-postgres", "compile"),
    "gpu.txt": ("avro", "http", "review", "review-postgres", "torch"),
}


def name_of(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


@pytest.mark.parametrize("file", FILES)
def test_every_package_has_a_hash(file: str) -> None:
    packages = locked_packages(file)
    assert packages
    assert [name for name, package in packages.items() if not package.hashes] == []


@pytest.mark.parametrize("file", FILES)
def test_versions_are_those_of_the_constraints(file: str) -> None:
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    differing = {n: v for n, v in locked(file).items() if pinned.get(n, v) != v}
    assert differing == {}, "run: make lock"


@pytest.mark.parametrize("file", EXTRAS)
def test_it_has_what_the_project_depends_on(file: str) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = list(project["dependencies"])
    for extra in EXTRAS[file]:
        wanted += project["optional-dependencies"][extra]
    # an extra may name another one
    assert {name_of(w) for w in wanted} - {"latentwatch"} <= locked(file).keys(), "run: make lock"


@pytest.mark.parametrize("file", ["builder.txt", "gpu.txt"])
def test_versions_are_the_same_in_every_file(file: str) -> None:
    assert locked("runtime.txt").items() <= locked(file).items()


def test_the_runtime_has_nothing_that_only_building_needs() -> None:
    assert not locked("runtime.txt").keys() & {"onnx", "gguf", "torch", "hatchling", "pip", "setuptools"}


@pytest.mark.parametrize("file", FILES)
def test_no_index_is_named(file: str) -> None:
    assert not re.search(r"://|--(extra-)?index-url|--find-links", (LOCKED / file).read_text())
