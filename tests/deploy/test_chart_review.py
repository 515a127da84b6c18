"""The review page in the chart: off by default, one pod, its own Secrets, volume and NetworkPolicy."""

from __future__ import annotations

from typing import Any

import typer

from monitor.cli.app import app
from tests.deploy.helm import Helm
from tests.deploy.manifest import Document, kinds, of_review

_PROXY = {"enabled": True, "tokenSecret": {"name": ""}, "proxy": {"userHeader": "X-User", "networks": ["10.0.0.0/24"]}}


def review(helm: Helm, values: dict[str, Any] | None = None) -> list[Document]:
    """The objects of the review page."""
    return [d for d in helm.documents("review", values) if of_review(d)]


def one(documents: list[Document], kind: str) -> Document:
    (found,) = [d for d in documents if d["kind"] == kind]
    return found


def pod_of(documents: list[Document]) -> dict[str, Any]:
    found: dict[str, Any] = one(documents, "Deployment")["spec"]["template"]["spec"]
    return found


def arguments(documents: list[Document]) -> list[str]:
    found: list[str] = pod_of(documents)["containers"][0]["args"]
    return found


def test_it_is_off_by_default(helm: Helm) -> None:
    for scenario in ("standalone", "sidecar", "job"):
        assert not [d for d in helm.documents(scenario) if of_review(d)]


def test_it_has_objects_of_its_own(helm: Helm) -> None:
    assert kinds(review(helm)) == ["Deployment", "NetworkPolicy", "PersistentVolumeClaim", "Service"]
    assert one(review(helm), "PersistentVolumeClaim")["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_its_arguments_are_options_of_the_command(helm: Helm) -> None:
    command = typer.main.get_command(app).commands["review"]  # type: ignore[attr-defined]
    known = {option for parameter in command.params for option in parameter.opts}
    for values in (
        None,
        {"review": {**_PROXY, "databaseSecret": {"name": "db"}, "recordUrl": "https://k/{topic}", "readAgain": True}},
    ):
        found = arguments(review(helm, values))
        assert found[0] == "review"
        assert {word for word in found if word.startswith("--")} <= known


def test_tokens_come_from_a_secret_and_sqlite_is_on_the_volume(helm: Helm) -> None:
    found = review(helm)
    said = " ".join(arguments(found))
    assert "--token-file /run/secrets/latentwatch-review/reviewers" in said
    assert "--database sqlite:////data/review.sqlite" in said
    pod = pod_of(found)
    volumes = {v["name"]: v for v in pod["volumes"]}
    assert volumes["review-data"]["persistentVolumeClaim"]["claimName"] == "lw-latentwatch-review"
    (source,) = volumes["review-secrets"]["projected"]["sources"]
    assert source["secret"] == {"name": "reviewers", "items": [{"key": "reviewers", "path": "reviewers"}]}
    mounts = {m["name"] for m in pod["containers"][0]["volumeMounts"]}
    assert mounts == set(volumes)


def test_with_postgresql_there_is_no_volume(helm: Helm) -> None:
    found = review(helm, {"review": {"databaseSecret": {"name": "db"}, "databasePort": 6432}})
    assert kinds(found) == ["Deployment", "NetworkPolicy", "Service"]
    assert "--database-url-file /run/secrets/latentwatch-review/database-url" in " ".join(arguments(found))
    ports = [p["port"] for rule in one(found, "NetworkPolicy")["spec"]["egress"] for p in rule["ports"]]
    assert ports == [53, 53, 9093, 6432]


def test_an_existing_claim_is_used(helm: Helm) -> None:
    found = review(helm, {"review": {"storage": {"existingClaim": "mine"}}})
    assert "PersistentVolumeClaim" not in kinds(found)
    volumes = {v["name"]: v for v in pod_of(found)["volumes"]}
    assert volumes["review-data"]["persistentVolumeClaim"]["claimName"] == "mine"


def test_behind_a_proxy_it_believes_its_addresses_alone(helm: Helm) -> None:
    said = " ".join(arguments(review(helm, {"review": _PROXY})))
    assert "--user-header X-User" in said
    assert "--proxy 10.0.0.0/24" in said
    assert "--token-file" not in said


def test_its_pod_is_restricted_and_selected_by_its_own_objects(helm: Helm) -> None:
    found = review(helm)
    template = one(found, "Deployment")["spec"]["template"]
    pod = template["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    assert one(found, "Deployment")["spec"]["strategy"] == {"type": "Recreate"}
    selectors = [
        one(found, "Deployment")["spec"]["selector"]["matchLabels"],
        one(found, "Service")["spec"]["selector"],
        one(found, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector.items() <= template["metadata"]["labels"].items()
    (others,) = [
        d["spec"]["podSelector"]["matchLabels"]
        for d in helm.documents("review")
        if d["kind"] == "NetworkPolicy" and not of_review(d)
    ]
    assert not others.items() <= template["metadata"]["labels"].items()


def test_a_job_has_none(helm: Helm) -> None:
    values = {"mode": "job", "job": {"volume": {"persistentVolumeClaim": {"claimName": "events"}}}}
    assert review(helm, values) == []


def test_next_to_sidecars_it_has_a_service_account(helm: Helm) -> None:
    rendered = helm.documents("sidecar", {"review": _PROXY})
    found = [d for d in rendered if of_review(d)]
    account = pod_of(found)["serviceAccountName"]
    assert account in [d["metadata"]["name"] for d in rendered if d["kind"] == "ServiceAccount"]


def test_what_is_added_to_the_other_pods_does_not_reach_it(helm: Helm) -> None:
    def added(name: str) -> dict[str, Any]:
        return {
            "extraEnv": [{"name": name.upper(), "value": "x"}],
            "extraVolumes": [{"name": name, "secret": {"secretName": name}}],
            "extraVolumeMounts": [{"name": name, "mountPath": f"/{name}"}],
        }

    def egress(port: int) -> dict[str, Any]:
        return {"extraEgress": [{"ports": [{"port": port, "protocol": "TCP"}]}]}

    siem = {**added("siem"), "networkPolicy": egress(8443)}
    found = review(helm, {**siem, "review": {**added("proxy"), **egress(3128)}})
    pod, text = pod_of(found), str(found)
    assert "siem" not in text.lower()
    assert "8443" not in text
    assert {"name": "PROXY", "value": "x"} in pod["containers"][0]["env"]
    assert {"name": "proxy", "secret": {"secretName": "proxy"}} in pod["volumes"]
    assert {"name": "proxy", "mountPath": "/proxy"} in pod["containers"][0]["volumeMounts"]
    assert egress(3128)["extraEgress"][0] in one(found, "NetworkPolicy")["spec"]["egress"]


def test_only_what_it_reads_at_its_start_replaces_its_pod(helm: Helm) -> None:
    def checksum(config: dict[str, Any]) -> str:
        template = one(review(helm, {"config": config}), "Deployment")["spec"]["template"]
        found: str = template["metadata"]["annotations"]["latentwatch/config-checksum"]
        return found

    before = checksum({})
    for config in ({"alerts": {"capture_content": True}}, {"reader": {"batch_tokens": 4096}}):
        assert checksum(config) == before
    for config in ({"feature_sets": {"only": ["x"]}}, {"log": {"level": "debug"}}, {"kafka": {"client_id": "x"}}):
        assert checksum(config) != before
