"""Fixtures of the tests that run the whole sidecar."""

from __future__ import annotations

import pytest

from tests.brokers import AnyBroker
from tests.integration.stream import Stream


@pytest.fixture
def stream(broker: AnyBroker) -> Stream:
    """New topics and a new group on `broker`."""
    return Stream(broker)
