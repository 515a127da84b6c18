"""OAUTHBEARER tokens: requested over HTTPS, kept until they expire, and accepted by a real broker."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.config.sections import Config, KafkaConfig
from monitor.errors import ConfigError, Retryable
from monitor.kafka.check import broker_problems
from monitor.kafka.client import token_provider
from tests.brokers import ApacheKafka
from tests.certificates import Authority
from tests.kafka.oauth_server import TokenServer, token_server, unsecured_token


@pytest.fixture
def server(authority: Authority) -> Iterator[TokenServer]:
    with token_server(authority.issue("tokens", hosts=("localhost",))) as state:
        yield state


def config(server: TokenServer, authority: Authority, **more: object) -> KafkaConfig:
    return KafkaConfig.model_validate({
        "security_protocol": "SASL_SSL",
        "ssl_cafile": authority.ca_file,
        "sasl_mechanism": "OAUTHBEARER",
        "oauth_token_url": server.url,
        "oauth_client_id": "client:1",
        "oauth_client_secret": "s/e c",
        "oauth_scope": "kafka",
        **more,
    })  # fmt: skip


def test_a_token_is_asked_for_once_while_it_is_fresh(server: TokenServer, authority: Authority) -> None:
    server.answer = (200, {"access_token": "t1", "expires_in": 3600})
    provider = token_provider(config(server, authority))
    assert [provider.token(), provider.token()] == ["t1", "t1"]
    ((authorization, body),) = server.asked
    assert base64.b64decode(authorization.removeprefix("Basic ")) == b"client%3A1:s%2Fe%20c"
    assert body == "grant_type=client_credentials&scope=kafka"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((401, {"error": "invalid_client"}), "HTTP 401 invalid_client"),
        ((500, "broken"), "HTTP 500"),
        ((200, {"token": "x"}), "the answer has no access_token"),
        ((200, {"access_token": ""}), "the answer has no access_token"),
    ],
)
def test_refusals_say_why(server: TokenServer, authority: Authority, answer: tuple[int, object], reason: str) -> None:
    server.answer = answer
    with pytest.raises(Retryable) as caught:
        token_provider(config(server, authority)).token()
    assert str(caught.value) == f"kafka.oauth_token_url: {server.url}: {reason}"


def test_the_endpoint_is_verified(server: TokenServer, authority: Authority) -> None:
    with pytest.raises(Retryable, match="CERTIFICATE_VERIFY_FAILED"):
        token_provider(config(server, authority, ssl_cafile=None)).token()


def test_a_secret_never_goes_over_plain_http(server: TokenServer, authority: Authority) -> None:
    with pytest.raises(ConfigError, match="only https:// keeps the client secret safe"):
        token_provider(config(server, authority, oauth_token_url="http://tokens.example/token"))


def test_a_token_file_is_read_each_time(tmp_path: Path) -> None:
    path = tmp_path / "token"
    provider = token_provider(
        KafkaConfig(security_protocol="SASL_SSL", sasl_mechanism="OAUTHBEARER", oauth_token_file=path)
    )
    with pytest.raises(Retryable, match=r"kafka\.oauth_token_file: .*: No such file"):
        provider.token()
    path.write_text("\n")
    with pytest.raises(Retryable, match="the file is empty"):
        provider.token()
    for token in ("one", "two"):
        path.write_text(token + "\n")
        assert provider.token() == token


@pytest.mark.kafka
@pytest.mark.timeout(60)
def test_a_broker_takes_the_token(server: TokenServer, authority: Authority, secure_kafka: ApacheKafka) -> None:
    server.answer = (200, {"access_token": unsecured_token("admin"), "expires_in": 600})
    secure_kafka.create_topics({"oauth": 1})
    extensions = {"logicalCluster": "lkc-1", "identityPoolId": "pool"}
    kafka = config(server, authority, bootstrap_servers=secure_kafka.bootstrap_servers, oauth_extensions=extensions)
    assert token_provider(kafka).extensions() == extensions
    settings = {"source": {"topic": "oauth", "dead_letter_topic": "oauth"}, "sinks": {"kafka": {"topic": "oauth"}}}
    assert broker_problems(Config.model_validate({"kafka": kafka, **settings})) == []
