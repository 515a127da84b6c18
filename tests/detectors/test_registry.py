"""Registry: built-ins and installed packages by name; nothing is imported that isn't asked for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from detectors.registry import Registry, RegistryError
from tests.plugin_package import installed, write_package

GROUP = "latentwatch.tests"


def registry() -> Registry[Any]:
    return Registry("shape", GROUP, {"round": "math:tau", "square": "fractions:Fraction"}, members=("__doc__",))


def package(site: Path, name: str, entries: dict[str, str], code: str = "shape = 'made up'") -> None:
    module = name.replace("-", "_")
    write_package(site, name, {GROUP: entries}, {f"{module}.py": code})


def refused(name: str) -> str:
    with pytest.raises(RegistryError) as caught:
        registry().load(name)
    return str(caught.value)


def test_built_ins(tmp_path: Path) -> None:
    assert registry().built_in == registry().names() == ("round", "square")
    assert registry().load("round") == pytest.approx(6.2832, abs=1e-3)


def test_a_package_adds_one(tmp_path: Path) -> None:
    package(tmp_path, "acme-shapes", {"oval": "acme_shapes:shape"})
    with installed(tmp_path):
        assert registry().names() == ("round", "square", "oval")
        assert "acme_shapes" not in sys.modules, "names are known without an import"
        assert registry().load("oval") == "made up"
    assert "acme_shapes" not in sys.modules


def test_only_what_is_asked_for_is_imported(tmp_path: Path) -> None:
    package(tmp_path, "acme-shapes", {"oval": "acme_shapes:shape"})
    package(tmp_path, "broken-shapes", {"bent": "broken_shapes:shape"}, "raise RuntimeError('bent')")
    with installed(tmp_path):
        assert registry().load("oval") == "made up"
        assert registry().load("square")
        assert "broken_shapes" not in sys.modules


def test_a_package_cannot_replace_a_built_in(tmp_path: Path) -> None:
    package(tmp_path, "acme-shapes", {"round": "acme_shapes:shape"})
    with installed(tmp_path):
        assert registry().load("round") == pytest.approx(6.2832, abs=1e-3)
        assert registry().names() == ("round", "square")


def test_an_unknown_name_is_told_which_there_are(tmp_path: Path) -> None:
    package(tmp_path, "acme-shapes", {"oval": "acme_shapes:shape"})
    with installed(tmp_path):
        assert refused("ovall") == "no shape is called 'ovall'; there are round, square, oval"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import a_library_that_is_missing", "ModuleNotFoundError: No module named 'a_library_that_is_missing'"),
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("other = 1", "AttributeError: module 'acme_shapes' has no attribute 'shape'"),
    ],
)
def test_a_package_that_cannot_be_imported_is_named(tmp_path: Path, code: str, reason: str) -> None:
    package(tmp_path, "acme-shapes", {"oval": "acme_shapes:shape"}, code)
    with installed(tmp_path):
        assert refused("oval") == f"the shape 'oval' of package acme-shapes 1.0 can't be imported: {reason}"


def test_an_object_without_the_members_is_refused(tmp_path: Path) -> None:
    package(tmp_path, "acme-shapes", {"oval": "acme_shapes:shape"})
    with installed(tmp_path), pytest.raises(RegistryError) as caught:
        Registry("shape", GROUP, {}, members=("title", "area")).load("oval")
    assert str(caught.value) == (
        "the shape 'oval' of package acme-shapes 1.0 has no area: acme_shapes:shape is not a shape"
    )


def test_a_name_in_two_packages_is_refused(tmp_path: Path) -> None:
    package(tmp_path, "acme-shapes", {"oval": "acme_shapes:shape"})
    package(tmp_path, "other-shapes", {"oval": "other_shapes:shape"})
    with installed(tmp_path):
        assert refused("oval") == (
            "the shape 'oval' is in several packages: acme-shapes 1.0, other-shapes 1.0; uninstall all but one"
        )
