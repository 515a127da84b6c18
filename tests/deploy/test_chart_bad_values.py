"""Values that cannot work are refused before anything is installed, in words that name the key and the rule."""

from __future__ import annotations

from typing import Any

import pytest

from tests.deploy.helm import Helm

BAD: list[tuple[str, str, dict[str, Any], str]] = [
    # a typo anywhere
    ("a misspelt key", "hpa", {"replica": 2}, "additional properties 'replica' not allowed"),
    ("a misspelt inner key", "hpa", {"kafka": {"passwordSecrets": {}}}, "at '/kafka': additional properties"),
    ("a misspelt config key", "hpa", {"config": {"kafka": {"bootstrap": "k:9092"}}}, "at '/config/kafka': additional"),
    ("an unknown config section", "hpa", {"config": {"sink": {}}}, "at '/config': additional properties 'sink'"),
    ("a misspelt key of a sidecar", "sidecar", {"sidecar": {"nativ": True}}, "additional properties 'nativ' not"),
    # values that no rule allows
    ("an unknown mode", "hpa", {"mode": "daemonset"}, "at '/mode': value must be one of 'standalone', 'sidecar', 'job'"),
    ("an unknown workload", "hpa", {"workload": "DaemonSet"}, "at '/workload': value must be one of"),
    ("an unknown protocol", "hpa", {"config": {"kafka": {"security_protocol": "TLS"}}}, "/security_protocol': value must"),
    ("a port out of range", "hpa", {"config": {"health": {"port": 94640}}}, "at '/config/health/port': maximum: got 94,640"),
    ("replicas as text", "hpa", {"replicas": "two"}, "at '/replicas': got string, want integer"),
    ("no partitions", "hpa", {"kafka": {"partitions": 0}}, "at '/kafka/partitions': minimum: got 0, want 1"),
    ("a digest without its algorithm", "hpa", {"image": {"digest": "0123"}}, "at '/image/digest': '0123' does not match"),
    ("a size without a unit that exists", "hpa", {"tmpSizeLimit": "1GB"}, "at '/tmpSizeLimit': '1GB' does not match"),
    ("a Secret's name that no Secret can have", "hpa", {"kafka": {"caSecret": {"name": "My_CA"}}}, "/kafka/caSecret/name"),
    ("a variable without a name", "hpa", {"extraEnv": [{"value": "1"}]}, "at '/extraEnv/0': missing property 'name'"),
    ("a scan outside the volume", "job", {"job": {"input": "/tmp/x"}}, "at '/job/input': '/tmp/x' does not match"),
    # what is missing
    ("no image", "hpa", {"image": {"repository": ""}}, "image.repository is required"),
    ("no brokers", "", {"image": {"repository": "x"}}, "config.kafka.bootstrap_servers is required"),
    ("a broker without a port", "hpa", {"config": {"kafka": {"bootstrap_servers": "a:1,kafka"}}}, "every broker needs a port"),
    ("a job without a volume", "", {"mode": "job", "image": {"repository": "x"}}, "job.volume is required"),
    # what does not go together
    ("a secret in the config", "hpa", {"config": {"kafka": {"sasl_password": "x"}}}, "a ConfigMap must not hold secrets"),
    ("a password without a login", "hpa", {"kafka": {"passwordSecret": {"name": "x"}}}, "needs config.kafka.sasl_mechanism"),
    ("OAuth's secret without OAuth", "keda", {"kafka": {"oauthClientSecret": {"name": "x"}}}, "sasl_mechanism OAUTHBEARER"),
    ("an authority without TLS", "hpa", {"kafka": {"caSecret": {"name": "x"}}}, "SSL or SASL_SSL; it is PLAINTEXT"),
    ("two authorities", "standalone", {"kafka": {"caSecret": {"name": "x"}}}, "caSecret and kafka.caConfigMap: set one"),
    (
        "a path that the chart sets", "standalone", {"config": {"kafka": {"ssl_cafile": "/x"}}},
        "config.kafka.ssl_cafile: remove it; the chart mounts company-ca",
    ),
    ("headers without an export", "hpa", {"otel": {"headersSecret": {"name": "x"}}}, "sinks.otel.enabled: true"),
    ("more replicas than partitions", "statefulset", {"replicas": 5}, "replicas is 5, but kafka.partitions is 4"),
    ("more than partitions at most", "hpa", {"autoscaling": {"maxReplicas": 13}}, "maxReplicas is 13, but kafka.partitions"),
    ("fewest above most", "hpa", {"autoscaling": {"minReplicas": 13}}, "minReplicas is 13, more than autoscaling.max"),
    ("an HPA down to nothing", "hpa", {"autoscaling": {"minReplicas": 0}}, "0 needs autoscaling.type keda"),
    (
        "KEDA without a login that it can use", "keda",
        {"kafka": {"passwordSecret": {"name": ""}}, "config": {"kafka": {"sasl_mechanism": "GSSAPI"}}},
        "triggerAuthentication is required with config.kafka.sasl_mechanism GSSAPI",
    ),
    ("no port to probe", "hpa", {"config": {"health": {"enabled": False}}}, "the probes ask that port"),
    ("a port that nobody knows", "hpa", {"config": {"health": {"port": 0}}}, "config.health.port must not be 0"),
    ("a sidecar with a Service", "sidecar", {"monitoring": {"serviceMonitor": {"enabled": True}}}, "use monitoring.podMonitor"),
    ("two monitors", "standalone", {"monitoring": {"podMonitor": {"enabled": True}}}, "would scrape twice"),
]  # fmt: skip


@pytest.mark.parametrize(("scenario", "values", "reason"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_it_is_refused_with_the_reason(helm: Helm, scenario: str, values: dict[str, Any], reason: str) -> None:
    done = helm.template(scenario, values)
    assert done.returncode != 0
    assert reason in done.stderr


def test_a_native_sidecar_needs_a_cluster_that_knows_it(helm: Helm) -> None:
    done = helm.template("sidecar", kube_version="1.28.3")
    assert done.returncode != 0
    assert "sidecar.native needs Kubernetes >= 1.29, this is v1.28.3: set sidecar.native to false" in done.stderr


def test_every_problem_is_told_at_once(helm: Helm) -> None:
    done = helm.template("statefulset", {"replicas": 5, "image": {"repository": ""}})
    assert "image.repository is required" in done.stderr
    assert "replicas is 5" in done.stderr
