"""deploy/kubernetes/sidecar.yaml: valid, safe, and in agreement with the config that it carries."""

from __future__ import annotations

import urllib.parse
from pathlib import Path, PurePosixPath
from typing import Any

import kubernetes_validate
import kubernetes_validate.utils
import pytest

from monitor.config.load import load_config
from monitor.config.sections import Config
from monitor.errors import ConfigError
from tests.deploy.manifest import environment, pod_spec, sidecar, the

FIRST_MINOR = 29  # native sidecars are on by default from here
VERSIONS = sorted({v for v in kubernetes_validate.utils.all_versions() if int(v.split(".")[1]) >= FIRST_MINOR})


def _embedded_config(documents: list[dict[str, Any]], folder: Path, env: dict[str, str], suffix: str = "") -> Config:
    path = folder / "config.yaml"
    path.write_text(the(documents, "ConfigMap")["data"]["config.yaml"] + suffix)
    return load_config(path, env)


@pytest.fixture
def config(documents: list[dict[str, Any]], tmp_path: Path) -> Config:
    return _embedded_config(documents, tmp_path, environment(documents))


@pytest.mark.parametrize("version", VERSIONS)
def test_every_document_fits_the_schema(version: str, documents: list[dict[str, Any]]) -> None:
    for document in documents:
        assert version.startswith(kubernetes_validate.validate(document, version, strict=True))


def test_the_schema_refuses_a_misspelt_field(documents: list[dict[str, Any]]) -> None:
    sidecar(documents)["livenessProb"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="livenessProb"):
        kubernetes_validate.validate(the(documents, "Deployment"), VERSIONS[0], strict=True)


def test_embedded_config_is_accepted(config: Config) -> None:
    assert config.kafka.client_id == "latentwatch-server-0"
    assert config.reader.threads == 2
    assert config.sinks.otel.resource_attributes["k8s.pod.name"] == "server-0"
    assert not config.alerts.capture_content


def test_an_unknown_key_in_the_embedded_config_is_refused(documents: list[dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no_such_section: unknown key"):
        _embedded_config(documents, tmp_path, {}, suffix="no_such_section: {}\n")


def test_paths_in_the_config_lie_in_mounts(documents: list[dict[str, Any]], config: Config) -> None:
    mounts = {m["mountPath"]: m["name"] for m in sidecar(documents)["volumeMounts"]}
    volumes = {v["name"]: v for v in pod_spec(documents)["volumes"]}
    password = PurePosixPath(str(config.kafka.sasl_password_file))
    secret = the(documents, "Secret")
    assert volumes[mounts[str(password.parent)]]["secret"]["secretName"] == secret["metadata"]["name"]
    assert password.name in secret["stringData"]
    file = PurePosixPath(sidecar(documents)["args"][-1])
    assert volumes[mounts[str(file.parent)]]["configMap"]["name"] == the(documents, "ConfigMap")["metadata"]["name"]
    assert file.name in the(documents, "ConfigMap")["data"]


def test_no_mount_uses_a_sub_path(documents: list[dict[str, Any]]) -> None:
    spec = pod_spec(documents)
    for container in [*spec["initContainers"], *spec["containers"]]:
        assert not [m for m in container["volumeMounts"] if "subPath" in m or "subPathExpr" in m]


def test_all_scratch_space_is_bounded(documents: list[dict[str, Any]]) -> None:
    scratch = [v["emptyDir"] for v in pod_spec(documents)["volumes"] if "emptyDir" in v]
    assert scratch
    assert all("sizeLimit" in volume for volume in scratch)


def test_the_sidecar_cannot_hold_back_the_server(documents: list[dict[str, Any]]) -> None:
    container = sidecar(documents)
    assert container["restartPolicy"] == "Always"
    assert "startupProbe" not in container
    assert "readinessProbe" not in container
    assert "postStart" not in container.get("lifecycle", {})


def test_liveness_asks_the_health_port(documents: list[dict[str, Any]], config: Config) -> None:
    container = sidecar(documents)
    probe = container["livenessProbe"]["httpGet"]
    (port,) = [p["containerPort"] for p in container["ports"] if p["name"] == probe["port"]]
    assert port == config.health.port
    assert probe["path"] == "/livez"


def test_no_service_account_token(documents: list[dict[str, Any]]) -> None:
    assert the(documents, "ServiceAccount")["automountServiceAccountToken"] is False
    assert pod_spec(documents)["automountServiceAccountToken"] is False
    assert pod_spec(documents)["serviceAccountName"] == the(documents, "ServiceAccount")["metadata"]["name"]


def test_the_config_holds_no_secret(documents: list[dict[str, Any]]) -> None:
    (password,) = the(documents, "Secret")["stringData"].values()
    assert password not in the(documents, "ConfigMap")["data"]["config.yaml"]


def test_egress_is_dns_kafka_and_otlp_only(documents: list[dict[str, Any]], config: Config) -> None:
    policy = the(documents, "NetworkPolicy")["spec"]
    kafka = int(config.kafka.bootstrap_servers.rsplit(":", 1)[1])
    otlp = urllib.parse.urlsplit(config.sinks.otel.endpoint).port
    assert policy["policyTypes"] == ["Egress"]
    assert all(rule["to"] and rule["ports"] for rule in policy["egress"])
    assert sorted((p["port"], p["protocol"]) for rule in policy["egress"] for p in rule["ports"]) == sorted(
        [(53, "TCP"), (53, "UDP"), (kafka, "TCP"), (otlp, "TCP")]
    )
    template = the(documents, "Deployment")["spec"]["template"]
    assert policy["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
