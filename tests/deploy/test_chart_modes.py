"""What each mode of the chart is for: probes, restarts, scaling, what reads which events, and who may talk to whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.deploy.helm import Helm
from tests.deploy.manifest import Document, config_in, environment, kinds, pod_spec, sidecar, the, workload


def _ports(rules: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    return [(port["protocol"], port["port"]) for rule in rules for port in rule["ports"]]


_DNS = [("UDP", 53), ("TCP", 53)]


# standalone


def test_standalone_renders_its_own_pods_and_all_around_them(helm: Helm) -> None:
    assert kinds(helm.documents("standalone")) == [
        "ConfigMap", "Deployment", "NetworkPolicy", "PodDisruptionBudget", "PrometheusRule", "Service",
        "ServiceAccount", "ServiceMonitor",
    ]  # fmt: skip


def test_a_digest_wins_over_the_tag(helm: Helm) -> None:
    assert "latentwatch@sha256:0123" in sidecar(helm.documents("standalone"))["image"]
    assert sidecar(helm.documents("statefulset"))["image"] == "registry.example/latentwatch:0.2.0"
    assert sidecar(helm.documents("hpa"))["image"] == "registry.example/latentwatch:0.1.0"


def test_a_rolling_update_never_has_fewer_readers(helm: Helm) -> None:
    deployment = the(helm.documents("standalone"), "Deployment")
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    probe = sidecar(helm.documents("standalone"))["readinessProbe"]["httpGet"]
    assert probe == {"path": "/readyz", "port": "lw-metrics"}
    assert pod_spec(helm.documents("standalone"))["terminationGracePeriodSeconds"] == 60


def test_pods_are_spread_and_evicted_one_by_one(helm: Helm) -> None:
    rendered = helm.documents("standalone")
    spread = pod_spec(rendered)["topologySpreadConstraints"]
    assert [s["topologyKey"] for s in spread] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    budget = the(rendered, "PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_extras_reach_the_pod(helm: Helm) -> None:
    rendered = helm.documents("standalone")
    assert environment(rendered)["HTTPS_PROXY"] == "http://proxy.example:3128"
    assert {"name": "certificates", "mountPath": "/certificates"} in sidecar(rendered)["volumeMounts"]
    assert pod_spec(rendered)["imagePullSecrets"] == [{"name": "registry"}]
    assert pod_spec(rendered)["nodeSelector"] == {"kubernetes.io/arch": "amd64"}
    assert workload(rendered)["spec"]["template"]["metadata"]["annotations"]["example.com/team"] == "safety"


def test_numbers_of_the_config_stay_whole(helm: Helm, tmp_path: Path) -> None:
    assert config_in(helm.documents("standalone"), tmp_path).reader.prefix_cache_bytes == 268435456


def test_standalone_is_reached_for_metrics_and_reaches_dns_kafka_and_otlp(helm: Helm) -> None:
    policy = the(helm.documents("standalone"), "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert _ports(policy["ingress"]) == [("TCP", "lw-metrics")]
    assert policy["ingress"][0]["from"]
    assert _ports(policy["egress"]) == [*_DNS, ("TCP", 9093), ("TCP", 9094), ("TCP", 443)]
    assert policy["egress"][1]["to"][0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "kafka"}


def test_otlp_is_closed_if_nothing_is_exported(helm: Helm) -> None:
    assert _ports(the(helm.documents("hpa"), "NetworkPolicy")["spec"]["egress"]) == [*_DNS, ("TCP", 9092)]


def test_the_token_endpoint_is_open_to_oauth(helm: Helm) -> None:
    assert ("TCP", "443") in [
        (protocol, str(port))
        for protocol, port in _ports(the(helm.documents("statefulset"), "NetworkPolicy")["spec"]["egress"])
    ]


def test_an_hpa_scales_on_cpu_or_on_what_is_named(helm: Helm) -> None:
    rendered = helm.documents("hpa")
    scaler = the(rendered, "HorizontalPodAutoscaler")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 12)
    assert scaler["metrics"][0]["resource"]["name"] == "cpu"
    assert "replicas" not in the(rendered, "Deployment")["spec"]  # an upgrade must not undo the scaling
    target = {"type": "AverageValue", "averageValue": "100"}
    lag = [{"type": "Pods", "pods": {"metric": {"name": "latentwatch_lag"}, "target": target}}]
    rendered = helm.documents("hpa", {"autoscaling": {"hpa": {"metrics": lag}}})
    assert the(rendered, "HorizontalPodAutoscaler")["spec"]["metrics"] == lag


def test_keda_looks_at_the_lag_of_the_configured_group(helm: Helm, tmp_path: Path) -> None:
    rendered = helm.documents("keda")
    config, scaled = config_in(rendered, tmp_path), the(rendered, "ScaledObject")["spec"]
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == (0, 12)
    (trigger,) = scaled["triggers"]
    assert trigger["metadata"] == {
        "bootstrapServers": config.kafka.bootstrap_servers,
        "consumerGroup": config.source.group_id,
        "topic": config.source.topic,
        "offsetResetPolicy": config.source.auto_offset_reset,
        "lagThreshold": "100",
        "activationLagThreshold": "10",
        "sasl": "scram_sha512",
        "tls": "enable",
    }
    login = the(rendered, "TriggerAuthentication")
    assert trigger["authenticationRef"]["name"] == login["metadata"]["name"]
    assert {(s["parameter"], s["name"], s["key"]) for s in login["spec"]["secretTargetRef"]} == {
        ("password", "latentwatch-kafka", "password"),
        ("ca", "kafka-cluster-ca-cert", "ca.crt"),
    }
    (user,) = login["spec"]["configMapTargetRef"]
    assert the(rendered, "ConfigMap")["data"][user["key"]] == config.kafka.sasl_username
    assert user["name"] == the(rendered, "ConfigMap")["metadata"]["name"]


def test_keda_logs_in_with_certificates_too(helm: Helm) -> None:
    rendered = helm.documents("standalone", {"autoscaling": {"type": "keda", "maxReplicas": 3}})
    login = the(rendered, "TriggerAuthentication")["spec"]
    assert [s["parameter"] for s in login["secretTargetRef"]] == ["cert", "key"]
    assert login["configMapTargetRef"] == [{"parameter": "ca", "name": "company-ca", "key": "ca.crt"}]
    trigger = the(rendered, "ScaledObject")["spec"]["triggers"][0]["metadata"]
    assert (trigger["tls"], trigger.get("sasl")) == ("enable", None)


def test_a_user_name_in_the_secret_reaches_the_pods_and_keda(helm: Helm) -> None:
    values = {
        "config": {"kafka": {"sasl_username": None}},
        "kafka": {"passwordSecret": {"usernameKey": "user"}},
        "review": {"enabled": True, "tokenSecret": {"name": "reviewers"}},
    }
    rendered = helm.documents("keda", values)
    named = {"name": "latentwatch-kafka", "key": "user"}
    deployments = [d for d in rendered if d["kind"] == "Deployment"]
    assert len(deployments) == 2
    for deployment in deployments:
        variables = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
        (user,) = [v for v in variables if v["name"] == "LATENTWATCH__KAFKA__SASL_USERNAME"]
        assert user["valueFrom"] == {"secretKeyRef": named}
    login = the(rendered, "TriggerAuthentication")["spec"]
    assert {"parameter": "username", **named} in login["secretTargetRef"]
    assert "configMapTargetRef" not in login
    assert "kafka-username" not in the(rendered, "ConfigMap")["data"]


def test_a_user_name_in_a_variable_is_enough_unless_keda_or_the_review_page_needs_it(helm: Helm) -> None:
    variable = {"name": "LATENTWATCH__KAFKA__SASL_USERNAME", "value": "me"}
    values: dict[str, Any] = {"config": {"kafka": {"sasl_username": None}}, "extraEnv": [variable]}
    assert "KEDA does not see extraEnv" in helm.template("keda", values).stderr
    values["autoscaling"] = {"keda": {"triggerAuthentication": "kafka"}}
    assert helm.template("keda", values).returncode == 0
    page = {"enabled": True, "tokenSecret": {"name": "reviewers"}}
    assert "only review.extraEnv" in helm.template("keda", {**values, "review": page}).stderr
    assert helm.template("keda", {**values, "review": {**page, "extraEnv": [variable]}}).returncode == 0


def test_keda_takes_an_existing_login(helm: Helm) -> None:
    rendered = helm.documents("keda", {"autoscaling": {"keda": {"triggerAuthentication": "kafka"}}})
    assert "TriggerAuthentication" not in kinds(rendered)
    assert the(rendered, "ScaledObject")["spec"]["triggers"][0]["authenticationRef"] == {"name": "kafka"}


def test_pods_of_a_statefulset_are_static_members(helm: Helm, tmp_path: Path) -> None:
    rendered = helm.documents("statefulset")
    assert config_in(rendered, tmp_path).kafka.options == {"group_instance_id": "server-0"}
    spec = the(rendered, "StatefulSet")["spec"]
    assert spec["serviceName"] == the(rendered, "Service")["metadata"]["name"]
    assert the(rendered, "Service")["spec"]["clusterIP"] == "None"
    assert spec["podManagementPolicy"] == "Parallel"
    assert "group_instance_id" not in config_in(helm.documents("hpa"), tmp_path).kafka.options


def _checksum(rendered: list[Document]) -> str:
    annotations = workload(rendered)["spec"]["template"]["metadata"]["annotations"]
    return annotations["latentwatch/config-checksum"]


@pytest.mark.parametrize("scenario", ["hpa", "sidecar"])
def test_only_what_is_not_reloaded_replaces_pods(helm: Helm, scenario: str) -> None:
    before = _checksum(helm.documents(scenario))
    threshold = {"config": {"feature_sets": {"overrides": {"unsafe_code": {"threshold": 0.9}}}}}
    assert _checksum(helm.documents(scenario, threshold)) == before
    assert _checksum(helm.documents(scenario, {"config": {"source": {"max_poll_records": 8}}})) != before


# job


def test_a_job_scans_a_file_of_its_volume(helm: Helm) -> None:
    rendered = helm.documents("job")
    assert kinds(rendered) == ["ConfigMap", "Job", "NetworkPolicy", "ServiceAccount"]
    container = sidecar(rendered)
    assert container["args"] == [
        "scan", "/data/march.parquet", "-c", "/etc/latentwatch/config.yaml",
        "--out", "/data/march-alerts.jsonl", "--bad", "/data/bad.jsonl",
    ]  # fmt: skip
    assert not {"livenessProbe", "readinessProbe", "ports"} & set(container)
    volumes = {v["name"]: v for v in pod_spec(rendered)["volumes"]}
    (mount,) = [m for m in container["volumeMounts"] if m["mountPath"] == "/data"]
    assert volumes[mount["name"]]["persistentVolumeClaim"] == {"claimName": "events"}


def test_a_job_is_not_tried_again_in_vain(helm: Helm) -> None:
    spec = the(helm.documents("job"), "Job")["spec"]
    fails, ignores = spec["podFailurePolicy"]["rules"]
    assert (fails["action"], fails["onExitCodes"]["values"]) == ("FailJob", [2, 3])
    assert (ignores["action"], ignores["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["activeDeadlineSeconds"] > 0
    assert the(helm.documents("job"), "Job")["metadata"]["name"].endswith("-1")


def test_a_job_talks_to_nobody(helm: Helm) -> None:
    policy = the(helm.documents("job"), "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & set(policy)
    rule = {"ports": [{"protocol": "TCP", "port": 443}]}
    more = the(helm.documents("job", {"networkPolicy": {"extraEgress": [rule]}}), "NetworkPolicy")
    assert _ports(more["spec"]["egress"]) == [*_DNS, ("TCP", 443)]


# sidecar; what the plain manifest shows is in test_sidecar_manifest.py


def test_the_chart_alone_renders_no_pod_for_a_sidecar(helm: Helm) -> None:
    assert kinds(helm.documents("sidecar")) == [
        "ConfigMap", "Deployment", "NetworkPolicy", "PodMonitor", "PrometheusRule",
    ]  # fmt: skip
    assert the(helm.documents("sidecar"), "Deployment")["metadata"]["name"] == "llm-server"


def test_a_plain_container_for_older_clusters(helm: Helm) -> None:
    done = helm.template("sidecar_plain", kube_version="1.28.0")
    assert done.returncode == 0, done.stderr
    rendered = helm.documents("sidecar_plain")
    assert "initContainers" not in pod_spec(rendered)
    assert [c["name"] for c in pod_spec(rendered)["containers"]] == ["server", "latentwatch"]
    container = sidecar(rendered)
    assert "restartPolicy" not in container
    native = sidecar(helm.documents("sidecar"))
    assert native["restartPolicy"] == "Always"
    assert native in pod_spec(helm.documents("sidecar"))["initContainers"]
    assert container == {key: value for key, value in native.items() if key != "restartPolicy"}


def test_a_sidecar_never_decides_whether_the_pod_is_ready_unless_asked(helm: Helm) -> None:
    for scenario in ("sidecar", "sidecar_plain"):
        assert not {"readinessProbe", "startupProbe", "lifecycle"} & set(sidecar(helm.documents(scenario)))
    asked = sidecar(helm.documents("sidecar_pod_topic"))
    assert asked["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert "startupProbe" not in asked


def test_a_pod_may_read_a_topic_of_its_own(helm: Helm, tmp_path: Path) -> None:
    source = config_in(helm.documents("sidecar_pod_topic"), tmp_path).source
    assert (source.topic, source.group_id) == ("llm.events.server-0", "latentwatch-llm-server-server-0")
    shared = config_in(helm.documents("sidecar"), tmp_path).source
    assert (shared.topic, shared.group_id) == ("llm.events", "latentwatch-llm-server")


def test_a_pod_that_hands_its_events_over_itself_needs_no_kafka(helm: Helm, tmp_path: Path) -> None:
    rendered = helm.documents("sidecar_http")
    config = config_in(rendered, tmp_path)
    assert (config.source.kind, config.http.host) == ("http", "127.0.0.1")
    assert not config.uses_kafka
    assert _ports(the(rendered, "NetworkPolicy")["spec"]["egress"]) == [*_DNS, ("TCP", 4318)]
    alerts = helm.documents("sidecar_http", {"config": {"sinks": {"kafka": {"enabled": True}}}})
    assert _ports(the(alerts, "NetworkPolicy")["spec"]["egress"]) == [*_DNS, ("TCP", 9093), ("TCP", 4318)]


def test_the_server_is_not_cut_off_unless_asked(helm: Helm) -> None:
    assert "NetworkPolicy" not in kinds(helm.documents("sidecar_pod_topic"))
    assert the(helm.documents("sidecar"), "NetworkPolicy")["spec"]["policyTypes"] == ["Egress"]
