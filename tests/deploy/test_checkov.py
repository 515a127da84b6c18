"""checkov finds nothing in the rendered manifests but what is explained here. Runs only if checkov is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.helm import SCENARIOS, Helm

EXPLAINED = {
    "CKV_K8S_21": "No namespace is written into the manifests: helm and kubectl say it with -n.",
    "CKV_K8S_43": "Only an installation knows the digest of its image; image.digest takes it.",
    "CKV_K8S_15": "IfNotPresent lets a pod start while the registry is down; with a digest it pulls the same image.",
    "CKV_K8S_11": "Throttling would slow the answers of the example's LLM server; latentwatch has a limit.",
    "CKV_K8S_9": "A sidecar has no readiness probe unless asked: its failure must not make the server's pod unready.",
}


def test_checkov_finds_only_what_is_explained(helm: Helm, tmp_path: Path) -> None:
    checkov = shutil.which("checkov")
    if checkov is None:
        pytest.skip("checkov is not on the PATH (see CONTRIBUTING.md)")
    for scenario in SCENARIOS:
        (tmp_path / f"{scenario}.yaml").write_text(helm.template(scenario).stdout)
    command = [checkov, "--directory", str(tmp_path), "--framework", "kubernetes", "--output", "json", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    found = {check["check_id"]: check["check_name"] for check in json.loads(done.stdout)["results"]["failed_checks"]}
    assert found.keys() == EXPLAINED.keys(), found
