"""What deploy/README.md tells people to write works as it stands."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.helm import Helm
from tests.deploy.manifest import REPOSITORY, config_in, documents_of, kinds, the

README = (REPOSITORY / "deploy/README.md").read_text()
VALUES = [yaml.safe_load(textwrap.dedent(block)) for block in re.findall(r"^ *```yaml\n(.*?)```", README, re.M | re.S)]
INSTALLED, *FURTHER = VALUES


def _merged(values: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    both = {key: _merged(values[key], more[key]) for key in values.keys() & more if isinstance(values[key], dict)}
    return {**values, **more, **both}


def test_the_first_values_install_what_the_page_promises(helm: Helm, tmp_path: Path) -> None:
    done = helm.template("", INSTALLED)
    assert done.returncode == 0, done.stderr
    rendered = documents_of(done.stdout)
    assert kinds(rendered) == [
        "ConfigMap", "Deployment", "NetworkPolicy", "PodDisruptionBudget", "ServiceAccount",
    ]  # fmt: skip
    assert config_in(rendered, tmp_path).kafka.sasl_username == "latentwatch"
    assert the(rendered, "Deployment")["spec"]["replicas"] == 2


@pytest.mark.parametrize("more", FURTHER, ids=lambda values: next(iter(values)))
def test_each_further_example_renders(helm: Helm, more: dict[str, Any]) -> None:
    done = helm.template("", _merged(INSTALLED, more) if "mode" not in more else more)
    assert done.returncode == 0, done.stderr


def test_paths_and_links_exist() -> None:
    folder = REPOSITORY / "deploy"
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    listed = re.findall(r"^    (\S+)  +\S", README.split("\n## ")[0], re.M)
    assert len(listed) == 7
    for path in [*links, *listed]:
        assert (folder / path).exists(), path


def test_anchors_exist() -> None:
    headings = re.findall(r"^#+ (.*)$", README, re.M)
    anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= anchors
