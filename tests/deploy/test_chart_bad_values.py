"""Values that cannot work are refused before anything is installed, in words that name the key and the rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.helm import Helm

BAD: dict[str, dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "bad_values.yaml").read_text())


@pytest.mark.parametrize("fault", BAD)
def test_it_is_refused_with_the_reason(helm: Helm, fault: str) -> None:
    case = BAD[fault]
    done = helm.template(case["scenario"], case["values"])
    assert done.returncode != 0
    assert case["reason"] in done.stderr


def test_a_native_sidecar_needs_a_cluster_that_knows_it(helm: Helm) -> None:
    done = helm.template("sidecar", kube_version="1.28.3")
    assert done.returncode != 0
    assert "sidecar.native needs Kubernetes >= 1.29, this is v1.28.3: set sidecar.native to false" in done.stderr


def test_every_problem_is_told_at_once(helm: Helm) -> None:
    done = helm.template("statefulset", {"replicas": 5, "image": {"repository": ""}})
    assert "image.repository is required" in done.stderr
    assert "replicas is 5" in done.stderr
