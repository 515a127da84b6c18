"""Finds objects and containers in deploy/kubernetes/sidecar.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[2]
SIDECAR = REPOSITORY / "deploy/kubernetes/sidecar.yaml"

Document = dict[str, Any]


def documents_in(path: Path) -> list[Document]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document is not None]


def the(documents: list[Document], kind: str) -> Document:
    (found,) = [document for document in documents if document["kind"] == kind]
    return found


def pod_spec(documents: list[Document]) -> dict[str, Any]:
    return the(documents, "Deployment")["spec"]["template"]["spec"]


def sidecar(documents: list[Document]) -> dict[str, Any]:
    (found,) = [c for c in pod_spec(documents)["initContainers"] if c["name"] == "latentwatch"]
    return found


def pod(documents: list[Document]) -> Document:
    """The pod that the Deployment would make; Pod Security refuses pods, and only warns about their owners."""
    deployment = the(documents, "Deployment")
    template = deployment["spec"]["template"]
    metadata = {**template["metadata"], "name": "from-template", "namespace": deployment["metadata"]["namespace"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def environment(documents: list[Document]) -> dict[str, str]:
    """The sidecar's variables as the kubelet would set them, for a pod named server-0."""
    container, values = sidecar(documents), {}
    for variable in container["env"]:
        source = variable.get("valueFrom", {})
        if "fieldRef" in source:
            assert source["fieldRef"]["fieldPath"] == "metadata.name"
            value = "server-0"
        elif "resourceFieldRef" in source:
            assert source["resourceFieldRef"]["resource"] == "limits.cpu"
            value = container["resources"]["limits"]["cpu"]
        else:
            value = variable["value"]
        for name, known in values.items():
            value = value.replace(f"$({name})", known)
        assert "$(" not in value, f"{variable['name']} names a variable that is not set before it"
        values[variable["name"]] = value
    return values
