"""How a real API server answers the manifest, and copies of it with faults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.deploy.manifest import pod, pod_spec, sidecar, the
from tests.kubernetes_api import KubernetesApi

pytestmark = pytest.mark.kubernetes

Documents = list[dict[str, Any]]


@pytest.fixture
def api(kubernetes_api: KubernetesApi, documents: Documents) -> KubernetesApi:
    kubernetes_api.create(the(documents, "Namespace"))
    return kubernetes_api


def test_the_manifest_is_accepted_without_a_warning(api: KubernetesApi, documents: Documents) -> None:
    done = api.dry_run(*documents)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == len(documents)


def test_its_pod_passes_restricted_pod_security(api: KubernetesApi, documents: Documents) -> None:
    done = api.dry_run(pod(documents))
    assert (done.returncode, done.stderr) == (0, "")


def test_the_restart_policy_reaches_the_stored_pod(api: KubernetesApi, documents: Documents) -> None:
    done = api.kubectl(
        "apply", "--dry-run=server", "-o", "jsonpath={.spec.initContainers[0].restartPolicy}", "-f", "-",
        documents=[pod(documents)],
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
    api: KubernetesApi, documents: Documents, worsen: Callable[[Documents], None], reason: str
) -> None:
    worsen(documents)
    done = api.dry_run(pod(documents))
    assert done.returncode != 0
    assert 'violates PodSecurity "restricted' in done.stderr
    assert reason in done.stderr
    assert "would violate PodSecurity" in api.dry_run(the(documents, "Deployment")).stderr


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
    api: KubernetesApi, documents: Documents, spoil: Callable[[Documents], None], reason: str
) -> None:
    spoil(documents)
    done = api.dry_run(the(documents, "Deployment"))
    assert done.returncode != 0
    assert reason in done.stderr
