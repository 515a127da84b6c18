"""Settings of the Kafka clients: secrets from files, and every problem at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, errors

from monitor.config.sections import KafkaConfig
from monitor.demo.broker import EmbeddedBroker
from monitor.errors import ConfigError, Permanent, Retryable
from monitor.kafka.client import client_settings, failure, open_client


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


@pytest.mark.kafka
def test_options_reach_the_clients_that_know_them(embedded_broker: EmbeddedBroker) -> None:
    options = {"client_rack": "r1", "batch_size": 99, "metadata_max_age_ms": 1_234, "receive_buffer_bytes": 65_536}
    config = KafkaConfig.model_validate({"bootstrap_servers": embedded_broker.bootstrap_servers, "options": options})
    consumer = open_client(KafkaConsumer, config)
    producer = open_client(KafkaProducer, config)
    admin = open_client(KafkaAdminClient, config)
    try:
        assert (consumer.config["client_rack"], producer.config["batch_size"]) == ("r1", 99)
        assert {c.config["metadata_max_age_ms"] for c in (consumer, producer, admin)} == {1_234}
    finally:
        for client in (consumer, producer, admin):
            client.close()


def test_a_version_is_a_pair_for_the_client() -> None:
    settings = client_settings(KafkaConfig.model_validate({"options": {"api_version": [3, 9]}}))
    assert settings["api_version"] == (3, 9)


def test_a_proxy_with_a_password_comes_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "proxy"
    config = KafkaConfig(proxy_url_file=path)
    with pytest.raises(ConfigError, match=r"kafka\.proxy_url_file: .*: No such file"):
        client_settings(config)
    path.write_text("socks5://user:word@proxy:1080\n")
    assert client_settings(config)["proxy_url"] == "socks5://user:word@proxy:1080"


@pytest.mark.parametrize(("mechanism", "package"), [("AWS_MSK_IAM", "botocore"), ("GSSAPI", "gssapi")])
def test_a_mechanism_names_the_package_that_it_needs(
    monkeypatch: pytest.MonkeyPatch, mechanism: str, package: str
) -> None:
    config = KafkaConfig.model_validate({"security_protocol": "SASL_SSL", "sasl_mechanism": mechanism})
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigError) as caught:
        client_settings(config)
    assert caught.value.problems == (f"kafka.sasl_mechanism: {mechanism} needs a package: pip install {package}",)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    assert client_settings(config)["sasl_mechanism"] == mechanism
    assert "sasl_plain_username" not in client_settings(config)


def test_failures_are_sorted() -> None:
    assert isinstance(failure(errors.TopicAuthorizationFailedError({"t"}), "x"), Permanent)
    assert isinstance(failure(errors.NotLeaderForPartitionError(), "x"), Retryable)
    told = failure(errors.KafkaTimeoutError("late"), "x", "SaslAuthenticationFailedError: no")
    assert isinstance(told, Permanent)
    assert str(failure(errors.KafkaTimeoutError("late"), "x", "refused")) == "x: refused"
    assert str(failure(errors.KafkaTimeoutError("late"), "x")) == "x: KafkaTimeoutError: late"
