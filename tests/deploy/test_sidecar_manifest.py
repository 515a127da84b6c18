"""deploy/kubernetes/sidecar.yaml: rendered from the charts, valid, safe, and true to the config that it carries."""

from __future__ import annotations

import shutil
import subprocess
import urllib.parse
from pathlib import Path, PurePosixPath

import kubernetes_validate
import kubernetes_validate.utils
import pytest

from monitor.config.sections import Config
from monitor.errors import ConfigError
from tests.deploy.helm import Helm
from tests.deploy.manifest import (
    REPOSITORY,
    SIDECAR,
    Document,
    config_in,
    containers,
    kinds,
    pod_spec,
    sidecar,
    the,
)

FIRST_MINOR = 29  # native sidecars are on by default from here
VERSIONS = sorted({v for v in kubernetes_validate.utils.all_versions() if int(v.split(".")[1]) >= FIRST_MINOR})


@pytest.fixture
def config(documents: list[Document], tmp_path: Path) -> Config:
    return config_in(documents, tmp_path)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_it_is_what_the_charts_render(helm: Helm, tmp_path: Path) -> None:
    rendered = tmp_path / "sidecar.yaml"
    subprocess.run(
        ["make", "--no-print-directory", "manifest", f"CHARTS={helm.charts}", f"MANIFEST={rendered}"],
        cwd=REPOSITORY, env=helm.environment, check=True, timeout=60,
    )  # fmt: skip
    assert rendered.read_text() == SIDECAR.read_text(), "run `make manifest`"


def test_it_says_what_has_to_be_changed(documents: list[Document]) -> None:
    text = SIDECAR.read_text()
    for what in ("change-me/latentwatch:", "change-me/llm-server:", "bootstrap_servers: change-me", "http://change-me"):
        assert what in text
    header = text.split("\n---\n")[0]
    assert all(source["secret"]["name"] in header for source in _secrets(documents))


def _secrets(documents: list[Document]) -> list[dict]:
    (volume,) = [v for v in pod_spec(documents)["volumes"] if v["name"] == "latentwatch-secrets"]
    return volume["projected"]["sources"]


def test_it_names_no_namespace_and_makes_no_secret(documents: list[Document]) -> None:
    assert kinds(documents) == ["ConfigMap", "Deployment", "NetworkPolicy"]
    assert not [d for d in documents if "namespace" in d["metadata"]]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_document_fits_the_schema(version: str, documents: list[Document]) -> None:
    for document in documents:
        assert version.startswith(kubernetes_validate.validate(document, version, strict=True))


def test_the_schema_refuses_a_misspelt_field(documents: list[Document]) -> None:
    sidecar(documents)["livenessProb"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="livenessProb"):
        kubernetes_validate.validate(the(documents, "Deployment"), VERSIONS[0], strict=True)


def test_embedded_config_is_accepted(config: Config) -> None:
    assert config.kafka.client_id == "latentwatch-server-0"
    assert config.reader.threads == 0  # as many as the CPU limit allows
    assert not config.alerts.capture_content


def test_an_unknown_key_in_the_embedded_config_is_refused(documents: list[Document], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no_such_section: unknown key"):
        config_in(documents, tmp_path, suffix="no_such_section: {}\n")


def test_paths_in_the_config_lie_in_mounts(documents: list[Document], config: Config) -> None:
    mounts = {m["mountPath"]: m["name"] for m in sidecar(documents)["volumeMounts"]}
    volumes = {v["name"]: v for v in pod_spec(documents)["volumes"]}
    mounted = {item["path"] for source in _secrets(documents) for item in source["secret"]["items"]}
    for path in (config.kafka.sasl_password_file, config.kafka.ssl_cafile):
        assert mounts[str(path.parent)] == "latentwatch-secrets"
        assert path.name in mounted
    file = PurePosixPath(sidecar(documents)["args"][-1])
    assert volumes[mounts[str(file.parent)]]["configMap"]["name"] == the(documents, "ConfigMap")["metadata"]["name"]
    assert file.name in the(documents, "ConfigMap")["data"]


def test_no_mount_uses_a_sub_path(documents: list[Document]) -> None:
    for container in containers(documents):
        assert not [m for m in container["volumeMounts"] if "subPath" in m or "subPathExpr" in m]


def test_all_scratch_space_is_bounded(documents: list[Document]) -> None:
    scratch = [v["emptyDir"] for v in pod_spec(documents)["volumes"] if "emptyDir" in v]
    assert scratch
    assert all("sizeLimit" in volume for volume in scratch)


def test_the_sidecar_cannot_hold_back_the_server(documents: list[Document]) -> None:
    container = sidecar(documents)
    assert container in pod_spec(documents)["initContainers"]
    assert container["restartPolicy"] == "Always"
    assert "startupProbe" not in container
    assert "readinessProbe" not in container
    assert "postStart" not in container.get("lifecycle", {})


def test_liveness_asks_the_health_port(documents: list[Document], config: Config) -> None:
    container = sidecar(documents)
    probe = container["livenessProbe"]["httpGet"]
    (port,) = [p["containerPort"] for p in container["ports"] if p["name"] == probe["port"]]
    assert port == config.health.port
    assert probe["path"] == "/livez"


def test_no_service_account_token(documents: list[Document]) -> None:
    assert pod_spec(documents)["automountServiceAccountToken"] is False


def test_egress_is_dns_kafka_and_otlp_only(documents: list[Document], config: Config) -> None:
    policy = the(documents, "NetworkPolicy")["spec"]
    kafka = int(config.kafka.bootstrap_servers.rsplit(":", 1)[1])
    otlp = urllib.parse.urlsplit(config.sinks.otel.endpoint).port
    assert policy["policyTypes"] == ["Egress"]
    assert sorted((p["port"], p["protocol"]) for rule in policy["egress"] for p in rule["ports"]) == sorted(
        [(53, "TCP"), (53, "UDP"), (kafka, "TCP"), (otlp, "TCP")]
    )
    template = the(documents, "Deployment")["spec"]["template"]
    assert policy["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
