"""What a release says about itself: one version everywhere, a changelog in its form, licences that are allowed."""

from __future__ import annotations

import re
import tomllib
from datetime import date
from itertools import pairwise

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import monitor
from tests.deploy.manifest import REPOSITORY

PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
CHANGES = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]


def _in_file(path: str, pattern: str) -> set[str]:
    found = set(re.findall(pattern, (REPOSITORY / path).read_text(), re.MULTILINE))
    assert found, f"{path} names no version any more: change this test"
    return found


def test_every_file_names_the_same_version() -> None:
    chart = yaml.safe_load((REPOSITORY / "deploy/helm/latentwatch/Chart.yaml").read_text())
    image = r"\blatentwatch:(\d[\w.+]*)"
    named = {
        "pyproject.toml": {PYPROJECT["project"]["version"]},
        "deploy/helm/latentwatch/Chart.yaml (appVersion)": {str(chart["appVersion"])},
        "deploy/Dockerfile (ARG)": _in_file("deploy/Dockerfile", r"^ARG VERSION=(\S+)$"),
        "deploy/Dockerfile (comment)": _in_file("deploy/Dockerfile", image),
        "docs/image.md": _in_file("docs/image.md", image),
        "deploy/README.md": _in_file("deploy/README.md", image),
        "deploy/kubernetes/sidecar.yaml (run `make manifest`)": _in_file("deploy/kubernetes/sidecar.yaml", image),
    }
    differing = {file: versions for file, versions in named.items() if versions != {monitor.__version__}}
    assert differing == {}, f"monitor/__init__.py says {monitor.__version__}"


def test_the_version_is_written_as_packages_and_charts_both_want_it() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", monitor.__version__)


def changelog_problems(text: str, version: str) -> list[str]:
    """Where a changelog breaks its rules; versions go down, and none is newer than `version`."""
    problems = []
    releases = re.findall(r"^## (.*)$", text, re.MULTILINE)
    if releases[:1] != ["[Unreleased]"]:
        problems.append("the first heading is not [Unreleased]")
    released = []
    for heading in releases[1:]:
        found = re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)", heading)
        if found is None:
            problems.append(f"{heading!r} is not [1.2.3] - 2026-01-31")
            continue
        released.append(Version(found[1]))
        try:
            date.fromisoformat(found[2])
        except ValueError:
            problems.append(f"{heading!r} is not a date")
    ceiling = Version(f"{version}.1")  # just above `version`, which may be released itself
    if any(newer <= older for newer, older in pairwise([ceiling, *released])):
        problems.append(f"versions do not go down from {version}")
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, *rest = re.split(r"^### ", section, flags=re.MULTILINE)
        kinds = [part.split("\n")[0] for part in rest]
        wrong = [kind for kind in kinds if kind not in CHANGES]
        if wrong or len(kinds) != len(set(kinds)):
            problems.append(
                f"{title.splitlines()[0]}: headings are {kinds}, which are not some of {CHANGES}, each once"
            )
        if not all(re.search(r"^- ", part, re.MULTILINE) for part in rest):
            problems.append(f"{title.splitlines()[0]}: a heading has no entry")
    return problems


def test_the_changelog_keeps_its_form() -> None:
    assert changelog_problems((REPOSITORY / "CHANGELOG.md").read_text(), monitor.__version__) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("## [0.1.0] - 2026-01-31\n### Added\n- A.\n", "not [Unreleased]"),
        ("## [Unreleased]\n## 0.1.0 (2026-01-31)\n", "is not [1.2.3]"),
        ("## [Unreleased]\n## [0.1.0] - 2026-02-31\n", "is not a date"),
        ("## [Unreleased]\n## [0.1.0] - 2026-01-31\n## [0.2.0] - 2026-01-30\n", "do not go down"),
        ("## [Unreleased]\n## [0.3.0] - 2026-01-31\n", "do not go down from 0.2.0"),
        ("## [Unreleased]\n### New\n- A.\n", "headings are ['New']"),
        ("## [Unreleased]\n### Fixed\n- A.\n### Fixed\n- B.\n", "each once"),
        ("## [Unreleased]\n### Added\n### Fixed\n- B.\n", "no entry"),
    ],
)
def test_a_changelog_that_breaks_a_rule_is_noticed(text: str, problem: str) -> None:
    (found,) = changelog_problems(text, "0.2.0")
    assert problem in found


def _licences() -> dict[str, tuple[str, str]]:
    """Version and licence by package, from docs/licenses.md."""
    rows = re.findall(
        r"^\| (\S+) +\| (\d\S*) +\| (.+?) +\|$", (REPOSITORY / "docs/licenses.md").read_text(), re.MULTILINE
    )
    return {canonicalize_name(name): (version, licence) for name, version, licence in rows}


def test_licences_are_listed_for_what_the_image_installs() -> None:
    text = (REPOSITORY / "deploy/requirements/runtime.txt").read_text()
    locked = [Requirement(line.rstrip(" \\")) for line in text.splitlines() if re.match(r"[a-z]", line)]
    on_linux = {"sys_platform": "linux", "platform_machine": "x86_64"}
    here = {
        canonicalize_name(r.name): str(r.specifier).removeprefix("==")
        for r in locked
        if r.marker is None or r.marker.evaluate(on_linux)
    }
    assert {name: version for name, (version, _) in _licences().items()} == here, "run: make licenses"


def test_every_listed_licence_is_allowed() -> None:
    allowed = PYPROJECT["tool"]["pip-licenses"]["allow-only"].split(";")
    assert {licence for _, licence in _licences().values()} == set(allowed)
