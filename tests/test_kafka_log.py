"""The log of the Kafka client: readable while brokers are away."""

from __future__ import annotations

import logging

from monitor.kafka_log import ConnectionErrors, KafkaLogFilter


def record(name: str, level: int, message: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord(name, level, __file__, 1, message, args, None)


def test_repeats_are_held_back_and_counted() -> None:
    log_filter = KafkaLogFilter(period_s=0.0)
    held = KafkaLogFilter(period_s=60.0)
    message = ("kafka.net.manager", logging.ERROR, "Connection failed: %s", "refused")
    assert [held.filter(record(*message)) for _ in range(3)] == [True, False, False]
    assert held.filter(record("kafka.cluster", logging.ERROR, "Connection failed: %s", "refused"))
    assert [log_filter.filter(record(*message)) for _ in range(3)] == [True, True, True]
    held._period_s = 0.0
    shown = record(*message)
    assert held.filter(shown)
    assert shown.getMessage().startswith("Connection failed: refused (2 more like this in the last ")


def test_only_the_clients_records_are_touched() -> None:
    log_filter = KafkaLogFilter()
    assert not log_filter.filter(record("kafka.net", logging.INFO, "connected"))
    assert all(log_filter.filter(record("kafkaesque", logging.INFO, "same")) for _ in range(3))


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
