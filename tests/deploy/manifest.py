"""Finds objects and containers among rendered documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from monitor.config.load import load_config
from monitor.config.sections import Config

REPOSITORY = Path(__file__).parents[2]
SIDECAR = REPOSITORY / "deploy/kubernetes/sidecar.yaml"

Document = dict[str, Any]
_WORKLOADS = ("Deployment", "StatefulSet", "Job")


def documents_of(text: str) -> list[Document]:
    return [document for document in yaml.safe_load_all(text) if document is not None]


def documents_in(path: Path) -> list[Document]:
    return documents_of(path.read_text())


def the(documents: list[Document], kind: str) -> Document:
    (found,) = [document for document in documents if document["kind"] == kind]
    return found


def kinds(documents: list[Document]) -> list[str]:
    return sorted(document["kind"] for document in documents)


def of_review(document: Document) -> bool:
    """Whether it belongs to the review page, which has objects of its own."""
    return document["metadata"].get("labels", {}).get("app.kubernetes.io/component") == "review"


def workload(documents: list[Document]) -> Document:
    """What runs the sidecar."""
    (found,) = [d for d in documents if d["kind"] in _WORKLOADS and not of_review(d)]
    return found


def pod_spec(documents: list[Document]) -> dict[str, Any]:
    return workload(documents)["spec"]["template"]["spec"]


def containers(documents: list[Document]) -> list[dict[str, Any]]:
    spec = pod_spec(documents)
    return [*spec.get("initContainers", ()), *spec["containers"]]


def sidecar(documents: list[Document]) -> dict[str, Any]:
    """latentwatch's container, wherever it stands in the pod."""
    (found,) = [container for container in containers(documents) if container["name"] == "latentwatch"]
    return found


def pod(documents: list[Document]) -> Document:
    """The pod that the workload would make; Pod Security refuses pods, and only warns about their owners."""
    template = workload(documents)["spec"]["template"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**template["metadata"], "name": "from-template"},
        "spec": template["spec"],
    }


def environment(documents: list[Document]) -> dict[str, str]:
    """The container's variables as the kubelet would set them, for the pod server-0 in the namespace payments."""
    container, values = sidecar(documents), {}
    fields = {"metadata.name": "server-0", "metadata.namespace": "payments"}
    for variable in container["env"]:
        source = variable.get("valueFrom", {})
        value = fields[source["fieldRef"]["fieldPath"]] if "fieldRef" in source else variable["value"]
        for name, known in values.items():
            value = value.replace(f"$({name})", known)
        assert "$(" not in value, f"{variable['name']} names a variable that is not set before it"
        values[variable["name"]] = value
    return values


def config_in(documents: list[Document], folder: Path, suffix: str = "") -> Config:
    """The config that the container would load; `folder` is where its file is written."""
    path = folder / "config.yaml"
    (text,) = [d["data"]["config.yaml"] for d in documents if "config.yaml" in d.get("data", {})]
    path.write_text(text + suffix)
    return load_config(path, environment(documents))
