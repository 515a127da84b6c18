"""The manifest, parsed; Helm; and the API server."""

from __future__ import annotations

import pytest

from tests.deploy.helm import Helm, helm_program
from tests.deploy.manifest import SIDECAR, Document, documents_in
from tests.kubernetes_api import kubernetes_api

__all__ = ["kubernetes_api"]


@pytest.fixture
def documents() -> list[Document]:
    return documents_in(SIDECAR)


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    program = helm_program()
    if program is None:
        pytest.skip("helm is neither in KUBEBUILDER_ASSETS nor on the PATH (see CONTRIBUTING.md)")
    return Helm(program, tmp_path_factory.mktemp("helm"))
