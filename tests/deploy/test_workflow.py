""".github/workflows/ci.yml: runs nothing but the Makefile's targets, with pinned actions and no rights to write."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.deploy.manifest import REPOSITORY

FILE = REPOSITORY / ".github/workflows/ci.yml"
TEXT = FILE.read_text()
# YAML 1.1 reads the key `on` as true
WORKFLOW: dict[Any, Any] = yaml.safe_load(TEXT)
STEPS = [(name, step) for name, job in WORKFLOW["jobs"].items() for step in job["steps"]]
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))


def test_it_is_the_only_workflow() -> None:
    assert [path.name for path in FILE.parent.iterdir()] == [FILE.name]


@pytest.mark.parametrize("command", [step["run"] for _, step in STEPS if "run" in step])
def test_a_command_is_one_target_of_the_makefile(command: str) -> None:
    found = re.fullmatch(r"make ([a-z-]+)", command)
    assert found, "put it into the Makefile, so that it runs everywhere"
    assert found[1] in TARGETS


def test_the_tests_and_the_check_of_a_release_run() -> None:
    assert {"make test", "make verify", "make release-check"} <= {step.get("run") for _, step in STEPS}


@pytest.mark.parametrize("action", re.findall(r"uses: (.*)", TEXT))
def test_an_action_is_pinned_to_a_commit_and_its_version_is_named(action: str) -> None:
    assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)


def test_no_job_may_write_or_run_for_hours() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    for job in WORKFLOW["jobs"].values():
        assert "permissions" not in job
        assert job["timeout-minutes"] <= 90
        assert not re.search(r"latest|self-hosted", job["runs-on"])


def test_a_checkout_leaves_no_token_behind() -> None:
    checkouts = [step for _, step in STEPS if step.get("uses", "").startswith("actions/checkout@")]
    assert len(checkouts) == len(WORKFLOW["jobs"])
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_it_has_every_python_that_the_project_names() -> None:
    named = set(re.findall(r'Python :: (3\.\d+)"', (REPOSITORY / "pyproject.toml").read_text()))
    (step,) = [s for name, s in STEPS if name == "release" and s.get("uses", "").startswith("actions/setup-python@")]
    assert set(step["with"]["python-version"].split()) == named
