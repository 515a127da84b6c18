"""The reasons that the Kafka client writes only to its log."""

from __future__ import annotations

import logging

from monitor.kafka.connection_errors import ConnectionErrors


def test_the_reason_is_told_rather_than_the_symptom() -> None:
    logger = logging.getLogger("kafka.net.manager")
    with ConnectionErrors() as seen:
        assert seen.reason is None
        for text in ("Authentication: SaslAuthenticationFailedError: no", "111 ECONNREFUSED", "socket disconnected"):
            logger.error("Connection failed: %s", OSError(text))
        logger.error("Connection failed: %s", OSError("Unable to bootstrap from [x]"))
    logger.error("Connection failed: %s", OSError("later"))
    assert seen.reason == "Authentication: SaslAuthenticationFailedError: no"
    assert "later" not in seen.reasons
