"""How a real API server answers what the charts render, and copies of it with faults."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.helm import SCENARIOS, Helm
from tests.deploy.manifest import Document, documents_in, pod, pod_spec, sidecar, the
from tests.kubernetes_api import KubernetesApi

pytestmark = pytest.mark.kubernetes

Documents = list[Document]

NAMESPACE = "payments"
_LEVELS = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
_BUILT_IN = ("v1", "apps/v1", "batch/v1", "autoscaling/v2", "policy/v1", "networking.k8s.io/v1")


class Cluster:
    """The API server with a namespace under restricted Pod Security, and operators' definitions if there are any."""

    def __init__(self, api: KubernetesApi, definitions: list[Document]) -> None:
        self._api = api
        self.defined = {d["spec"]["names"]["kind"] for d in definitions}
        api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": _LEVELS}})
        if definitions:
            # too large for the annotation of a client-side apply
            done = api.kubectl("apply", "--server-side", "-f", "-", documents=definitions)
            assert done.returncode == 0, done.stderr
            names = [f"crd/{d['metadata']['name']}" for d in definitions]
            done = api.kubectl("wait", "--for=condition=Established", "--timeout=30s", *names)
            assert done.returncode == 0, done.stderr

    def knows(self, document: Document) -> bool:
        return document["apiVersion"] in _BUILT_IN or document["kind"] in self.defined

    def dry_run(self, *documents: Document) -> Any:
        """Have the server check documents in the namespace, with every admission rule."""
        placed = copy.deepcopy(list(documents))
        for document in placed:
            document["metadata"]["namespace"] = NAMESPACE
        return self._api.dry_run(*placed)


@pytest.fixture(scope="session")
def cluster(kubernetes_api: KubernetesApi) -> Cluster:
    folder = Path(os.environ["KUBEBUILDER_ASSETS"]) / "crds"
    files = sorted(folder.glob("*.yaml")) if folder.is_dir() else []
    return Cluster(kubernetes_api, [d for file in files for d in documents_in(file)])


def test_the_plain_manifest_is_accepted_without_a_warning(cluster: Cluster, documents: Documents) -> None:
    done = cluster.dry_run(*documents)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == len(documents)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_what_the_chart_renders_is_accepted_without_a_warning(helm: Helm, cluster: Cluster, scenario: str) -> None:
    rendered = helm.documents(scenario)
    known = [document for document in rendered if cluster.knows(document)]
    done = cluster.dry_run(*known, pod(rendered))
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == len(known) + 1


@pytest.mark.parametrize("kind", ["PodMonitor", "ServiceMonitor", "PrometheusRule", "ScaledObject"])
def test_objects_of_operators_are_among_them(helm: Helm, cluster: Cluster, kind: str) -> None:
    if not cluster.defined:
        pytest.skip("KUBEBUILDER_ASSETS has no folder crds with the operators' definitions (see CONTRIBUTING.md)")
    (found, *_) = [d for s in SCENARIOS for d in helm.documents(s) if d["kind"] == kind and cluster.knows(d)]
    found["spec"]["noSuchKey"] = 1
    assert 'unknown field "spec.noSuchKey"' in cluster.dry_run(found).stderr


def test_the_restart_policy_reaches_the_stored_pod(cluster: Cluster, documents: Documents) -> None:
    done = cluster._api.kubectl(
        "apply", f"--namespace={NAMESPACE}", "--dry-run=server", "-f", "-",
        "-o", "jsonpath={.spec.initContainers[0].restartPolicy}", documents=[pod(documents)],
    )  # fmt: skip
    assert done.stdout == "Always", done.stderr


def _may_be_root(documents: Documents) -> None:
    del pod_spec(documents)["securityContext"]["runAsNonRoot"]


def _no_seccomp(documents: Documents) -> None:
    del pod_spec(documents)["securityContext"]["seccompProfile"]


def _may_gain_privileges(documents: Documents) -> None:
    del sidecar(documents)["securityContext"]["allowPrivilegeEscalation"]


def _keeps_capabilities(documents: Documents) -> None:
    del sidecar(documents)["securityContext"]["capabilities"]


def _host_folder(documents: Documents) -> None:
    pod_spec(documents)["volumes"].append({"name": "host", "hostPath": {"path": "/"}})


@pytest.mark.parametrize(
    ("worsen", "reason"),
    [
        (_may_be_root, "runAsNonRoot != true"),
        (_no_seccomp, "seccompProfile"),
        (_may_gain_privileges, "allowPrivilegeEscalation != false"),
        (_keeps_capabilities, "unrestricted capabilities"),
        (_host_folder, "restricted volume types"),
    ],
)
def test_a_weaker_pod_is_refused(
    cluster: Cluster, documents: Documents, worsen: Callable[[Documents], None], reason: str
) -> None:
    worsen(documents)
    done = cluster.dry_run(pod(documents))
    assert done.returncode != 0
    assert 'violates PodSecurity "restricted' in done.stderr
    assert reason in done.stderr
    assert "would violate PodSecurity" in cluster.dry_run(the(documents, "Deployment")).stderr


def _misspelt_field(documents: Documents) -> None:
    sidecar(documents)["livenessProb"] = sidecar(documents).pop("livenessProbe")


def _unknown_port_name(documents: Documents) -> None:
    sidecar(documents)["ports"][0]["name"] = "a-name-longer-than-fifteen"


def _readiness_of_a_plain_init_container(documents: Documents) -> None:
    del sidecar(documents)["restartPolicy"]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_misspelt_field, 'unknown field "spec.template.spec.initContainers[0].livenessProb"'),
        (_unknown_port_name, "spec.template.spec.initContainers[0].ports[0].name"),
        (_readiness_of_a_plain_init_container, "may not be set for init containers without restartPolicy=Always"),
    ],
)
def test_a_faulty_deployment_is_refused(
    cluster: Cluster, documents: Documents, spoil: Callable[[Documents], None], reason: str
) -> None:
    spoil(documents)
    done = cluster.dry_run(the(documents, "Deployment"))
    assert done.returncode != 0
    assert reason in done.stderr
