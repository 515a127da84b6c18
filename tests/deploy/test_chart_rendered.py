"""What holds for everything that the chart renders, in every mode."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import kubernetes_validate
import pytest

from tests.deploy.helm import SCENARIOS, VALUES, Helm
from tests.deploy.manifest import (
    Document,
    config_in,
    containers,
    environment,
    of_review,
    pod_spec,
    sidecar,
    workload,
)

_OPERATORS = ("monitoring.coreos.com", "keda.sh")
_RESTRICTED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


@pytest.fixture(params=SCENARIOS)
def scenario(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def rendered(helm: Helm, scenario: str) -> list[Document]:
    return helm.documents(scenario)


def test_every_values_file_is_a_scenario() -> None:
    assert {path.stem for path in VALUES.iterdir()} == set(SCENARIOS)


def test_lint_finds_nothing(helm: Helm, scenario: str) -> None:
    chart = "examples/llm-server" if scenario.startswith("sidecar") else "latentwatch"
    values = str(VALUES / f"{scenario}.yaml")
    done = helm.run("lint", "--strict", "--kube-version=1.29.0", str(helm.charts / chart), "-f", values)
    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout


def test_every_built_in_object_fits_the_schema(rendered: list[Document]) -> None:
    for document in rendered:
        if not document["apiVersion"].startswith(_OPERATORS):
            assert kubernetes_validate.validate(document, "1.29", strict=True)


def test_the_config_loads_with_the_variables_of_the_container(rendered: list[Document], tmp_path: Path) -> None:
    config = config_in(rendered, tmp_path)
    assert config.log.format == "json"
    assert environment(rendered)["OTEL_RESOURCE_ATTRIBUTES"].startswith(
        "k8s.namespace.name=payments,k8s.pod.name=server-0"
    )


def test_no_namespace_is_written_anywhere(rendered: list[Document]) -> None:
    assert not [d for d in rendered if "namespace" in d["metadata"]]


def test_every_path_in_the_config_is_mounted(rendered: list[Document], tmp_path: Path) -> None:
    config, spec = config_in(rendered, tmp_path), pod_spec(rendered)
    mounts = {m["mountPath"]: m["name"] for m in sidecar(rendered)["volumeMounts"]}
    volumes = {v["name"]: v for v in spec["volumes"]}
    files = [str(value) for _, value in config.kafka if isinstance(value, Path)]
    files += [str(config.sinks.otel.headers_file)] if config.sinks.otel.headers_file else []
    items = [
        item
        for source in volumes.get("latentwatch-secrets", {}).get("projected", {}).get("sources", [])
        for mounted in source.values()
        for item in mounted["items"]
    ]
    assert sorted(files) == sorted(f"/run/secrets/latentwatch/{item['path']}" for item in items)
    assert ("/run/secrets/latentwatch" in mounts) == bool(files)
    for path in config.feature_sets.paths[1:]:
        assert volumes[mounts[path]]["configMap"]["name"] == PurePosixPath(path).name
    assert volumes[mounts["/etc/latentwatch"]]["configMap"]["name"].endswith("latentwatch")
    assert set(mounts.values()) <= set(volumes)


def test_secrets_are_only_referred_to(rendered: list[Document]) -> None:
    assert "Secret" not in [d["kind"] for d in rendered]


def test_the_pod_is_restricted(rendered: list[Document]) -> None:
    spec = pod_spec(rendered)
    assert spec["automountServiceAccountToken"] is False
    context = spec["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert context["fsGroup"] == context["runAsGroup"] == 10001  # of the image, and what makes Secrets readable
    for container in containers(rendered):
        assert container["securityContext"] == _RESTRICTED


def test_mounts_are_folders_and_scratch_space_is_bounded(rendered: list[Document]) -> None:
    for container in containers(rendered):
        assert not [m for m in container["volumeMounts"] if "subPath" in m]
    assert all("sizeLimit" in v["emptyDir"] for v in pod_spec(rendered)["volumes"] if "emptyDir" in v)


def test_selectors_match_the_pods(rendered: list[Document]) -> None:
    labels = workload(rendered)["spec"]["template"]["metadata"]["labels"]
    for document in (d for d in rendered if not of_review(d)):
        for selector in _selectors(document):
            assert selector
            assert selector.items() <= labels.items(), document["kind"]
            assert "app.kubernetes.io/version" not in selector  # what an upgrade changes


def _selectors(document: Document) -> list[dict[str, Any]]:
    spec = document.get("spec", {})
    found = [spec.get("selector"), spec.get("podSelector")]
    if document["kind"] == "ServiceMonitor":
        return []  # selects a Service
    return [selector.get("matchLabels", selector) for selector in found if selector is not None]


def test_a_service_is_found_by_its_monitor(helm: Helm) -> None:
    rendered = helm.documents("standalone")
    (service,) = [d for d in rendered if d["kind"] == "Service"]
    (monitor,) = [d for d in rendered if d["kind"] == "ServiceMonitor"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
