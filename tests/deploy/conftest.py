"""The manifest, parsed, and the API server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.deploy.manifest import SIDECAR, documents_in
from tests.kubernetes_api import kubernetes_api

__all__ = ["kubernetes_api"]


@pytest.fixture
def documents() -> list[dict[str, Any]]:
    return documents_in(SIDECAR)
