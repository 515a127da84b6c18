"""Settings of the Kafka clients: secrets from files, and every problem at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from kafka import errors

from monitor.config.sections import KafkaConfig
from monitor.errors import ConfigError, Permanent, Retryable
from monitor.kafka.client import client_settings, failure


def plain(**more: object) -> KafkaConfig:
    return KafkaConfig.model_validate(
        {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", "sasl_username": "u"} | more
    )


def test_servers_are_split() -> None:
    assert client_settings(KafkaConfig(bootstrap_servers="a:1, b:2,"))["bootstrap_servers"] == ["a:1", "b:2"]


def test_a_password_file_is_read_each_time_without_its_newline(tmp_path: Path) -> None:
    path = tmp_path / "password"
    for content, password in ((b"one\n", "one"), (b"t wo \r\n", "t wo ")):
        path.write_bytes(content)
        assert client_settings(plain(sasl_password_file=path))["sasl_plain_password"] == password


def test_a_file_without_a_secret_is_named(tmp_path: Path) -> None:
    path = tmp_path / "password"
    with pytest.raises(ConfigError) as caught:
        client_settings(plain(sasl_password_file=path))
    assert caught.value.problems == (f"kafka.sasl_password_file: {path}: No such file or directory",)
    path.write_text("\n")
    with pytest.raises(ConfigError, match="the file is empty"):
        client_settings(plain(sasl_password_file=path))


def test_failures_are_sorted() -> None:
    assert isinstance(failure(errors.TopicAuthorizationFailedError({"t"}), "x"), Permanent)
    assert isinstance(failure(errors.NotLeaderForPartitionError(), "x"), Retryable)
    told = failure(errors.KafkaTimeoutError("late"), "x", "SaslAuthenticationFailedError: no")
    assert isinstance(told, Permanent)
    assert str(failure(errors.KafkaTimeoutError("late"), "x", "refused")) == "x: refused"
    assert str(failure(errors.KafkaTimeoutError("late"), "x")) == "x: KafkaTimeoutError: late"
