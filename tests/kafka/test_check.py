"""broker_problems against real brokers: each fault is named for what it is."""

from __future__ import annotations

import socket
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from kafka.admin import ACL, ACLOperation, ACLPermissionType, KafkaAdminClient, ResourcePattern, ResourceType

from monitor.config.sections import Config
from monitor.kafka.check import broker_problems
from monitor.kafka.client import client_settings
from tests.brokers import SCRAM_PASSWORD, USER_PASSWORD, AnyBroker, ApacheKafka, free_ports
from tests.certificates import Authority
from tests.kafka.oauth_server import unsecured_token

# the promise is an answer within 10 s
pytestmark = [pytest.mark.kafka, pytest.mark.timeout(10, func_only=True)]

TOPICS = {"events": 1, "alerts": 1, "dead": 1}


def check(
    kafka: dict[str, Any], topics: tuple[str, str, str] = ("events", "alerts", "dead"), group: str = "g"
) -> list[str]:
    config = {
        "kafka": kafka,
        "source": {"topic": topics[0], "dead_letter_topic": topics[2], "group_id": group},
        "sinks": {"kafka": {"topic": topics[1]}},
    }
    return broker_problems(Config.model_validate(config))


@pytest.fixture(scope="module")
def secure(secure_kafka: ApacheKafka) -> dict[str, Any]:
    """How the user app connects; it may read events and write alerts, no more."""
    secure_kafka.create_topics(TOPICS)
    grant(secure_kafka, [
        (ResourceType.TOPIC, "events", ACLOperation.READ),
        (ResourceType.TOPIC, "alerts", ACLOperation.WRITE),
        (ResourceType.TOPIC, "dead", ACLOperation.DESCRIBE),
    ])  # fmt: skip
    return secure_kafka.admin_config().model_dump() | {"sasl_username": "app", "sasl_password": USER_PASSWORD}


def grant(broker: ApacheKafka, rights: list[tuple[ResourceType, str, ACLOperation]]) -> None:
    admin = KafkaAdminClient(**client_settings(broker.admin_config()))
    admin.create_acls([
        ACL("User:app", "*", operation, ACLPermissionType.ALLOW, ResourcePattern(kind, name))
        for kind, name, operation in rights
    ])  # fmt: skip
    admin.close()


@pytest.fixture
def admin(secure: dict[str, Any], secure_kafka: ApacheKafka) -> dict[str, Any]:
    return secure_kafka.admin_config().model_dump()


def test_no_problems_if_everything_works(broker: AnyBroker, admin: dict[str, Any]) -> None:
    broker.create_topics(TOPICS)
    assert check({"bootstrap_servers": broker.bootstrap_servers}) == []
    assert check(admin) == []


def test_missing_topics_are_all_named(broker: AnyBroker) -> None:
    names = tuple(f"missing-{uuid.uuid4().hex[:6]}" for _ in range(3))
    assert check({"bootstrap_servers": broker.bootstrap_servers}, names) == [  # type: ignore[arg-type]
        f"source.topic: {names[0]}: the topic does not exist; create it, or correct the name",
        f"source.dead_letter_topic: {names[2]}: the topic does not exist; create it, or correct the name",
        f"sinks.kafka.topic: {names[1]}: the topic does not exist; create it, or correct the name",
    ]


def test_all_unusable_addresses_are_named() -> None:
    (port,) = free_ports(1)
    assert check({"bootstrap_servers": f"127.0.0.1:{port}, no.such.host.invalid:9092,127.0.0.1:x"}) == [
        f"kafka.bootstrap_servers: 127.0.0.1:{port}: connection refused; no broker listens there",
        "kafka.bootstrap_servers: no.such.host.invalid:9092: the host name does not resolve; "
        "check the name and the DNS of this machine",
        "kafka.bootstrap_servers: 127.0.0.1:x: not host:port",
    ]


def test_one_bad_address_next_to_a_good_one(embedded_broker: AnyBroker) -> None:
    embedded_broker.create_topics(TOPICS)
    (port,) = free_ports(1)
    problems = check({"bootstrap_servers": f"127.0.0.1:{port},{embedded_broker.bootstrap_servers}"})
    assert problems == [f"kafka.bootstrap_servers: 127.0.0.1:{port}: connection refused; no broker listens there"]


@pytest.fixture
def mute_port() -> Iterator[int]:
    """Accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def web_port() -> Iterator[int]:
    """Answers as a web server does."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            conn, _ = server.accept()
            with conn:
                conn.recv(100)
                conn.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


def test_ports_that_are_no_brokers(mute_port: int, web_port: int) -> None:
    assert check({"bootstrap_servers": f"127.0.0.1:{mute_port},127.0.0.1:{web_port}"}) == [
        f"kafka.bootstrap_servers: 127.0.0.1:{mute_port}: the port is open but does not answer as a Kafka broker",
        f"kafka.bootstrap_servers: 127.0.0.1:{web_port}: the port answers, but not as a Kafka broker",
    ]


def test_plaintext_against_tls(admin: dict[str, Any]) -> None:
    server = admin["bootstrap_servers"]
    expected = (
        f"kafka.bootstrap_servers: {server}: this looks like a TLS port; set kafka.security_protocol to SSL or SASL_SSL"
    )
    assert check({"bootstrap_servers": server}) == [expected]
    assert check(admin | {"security_protocol": "SASL_PLAINTEXT"}) == [expected]


def test_tls_against_plaintext(broker: AnyBroker, authority: Authority) -> None:
    (problem,) = check({
        "bootstrap_servers": broker.bootstrap_servers, "security_protocol": "SSL", "ssl_cafile": authority.ca_file
    })  # fmt: skip
    assert problem.startswith(f"kafka.bootstrap_servers: {broker.bootstrap_servers}: TLS: ")
    assert problem.endswith("this looks like a plaintext port")


def test_certificates(admin: dict[str, Any], authority: Authority, tmp_path: Any) -> None:
    where = f"kafka.bootstrap_servers: {admin['bootstrap_servers']}: TLS: "
    stranger = Authority(tmp_path, "stranger")
    unknown = where + "the certificate is not signed by an authority in kafka.ssl_cafile (self-signed certificate"
    assert check(admin | {"ssl_cafile": stranger.ca_file})[0].startswith(unknown)
    assert check(admin | {"ssl_cafile": None})[0].startswith(unknown)
    by_ip = admin["bootstrap_servers"].replace("localhost", "127.0.0.1")
    assert check(admin | {"bootstrap_servers": by_ip}) == [
        f"kafka.bootstrap_servers: {by_ip}: TLS: the certificate is for another IP address "
        "(IP address mismatch, certificate is not valid for '127.0.0.1')"
    ]


def test_client_certificates(
    admin: dict[str, Any], secure_kafka: ApacheKafka, authority: Authority, tmp_path: Any
) -> None:
    server = f"localhost:{secure_kafka.mutual_tls_port}"
    kafka = {"bootstrap_servers": server, "security_protocol": "SSL", "ssl_cafile": authority.ca_file}
    (problem,) = check(kafka)
    assert problem.startswith(
        f"kafka.bootstrap_servers: {server}: TLS: the broker wants a client certificate; set kafka.ssl_certfile"
    )
    foreign = Authority(tmp_path, "stranger").issue("client")
    (problem,) = check(kafka | {"ssl_certfile": foreign, "ssl_keyfile": foreign})
    assert "TLS: the broker does not accept kafka.ssl_certfile" in problem
    ours = authority.issue("client")
    assert check(kafka | {"ssl_certfile": ours, "ssl_keyfile": ours}) == []


def test_logins(admin: dict[str, Any], tmp_path: Any) -> None:
    assert check(admin | {"sasl_password": "wrong"}) == [
        "kafka.sasl_mechanism: PLAIN: authentication failed; check kafka.sasl_username 'admin' and kafka.sasl_password "
        "(Authentication failed: Invalid username or password)"
    ]
    scram = admin | {"sasl_mechanism": "SCRAM-SHA-512", "sasl_username": "scram", "sasl_password": "wrong"}
    assert check(scram)[0].startswith("kafka.sasl_mechanism: SCRAM-SHA-512: authentication failed; check")
    assert all("no permission" in problem for problem in check(scram | {"sasl_password": SCRAM_PASSWORD}))
    assert check(scram | {"sasl_mechanism": "SCRAM-SHA-256"}) == [
        "kafka.sasl_mechanism: SCRAM-SHA-256 is not enabled on the broker, "
        "which offers PLAIN, SCRAM-SHA-512, OAUTHBEARER"
    ]
    anonymous = {key: admin[key] for key in ("bootstrap_servers", "ssl_cafile")} | {"security_protocol": "SSL"}
    assert check(anonymous) == [
        "kafka.security_protocol: the broker requires a login; set it to SASL_SSL, and set kafka.sasl_mechanism"
    ]


def test_a_login_that_the_broker_does_not_take(apache_kafka: ApacheKafka) -> None:
    kafka = {
        "bootstrap_servers": apache_kafka.bootstrap_servers,
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "PLAIN",
        "sasl_username": "u",
        "sasl_password": "p",
    }
    assert check(kafka) == [
        "kafka.security_protocol: the port does not take logins; set it to PLAINTEXT, or use the broker's SASL port"
    ]


def test_tokens(admin: dict[str, Any], tmp_path: Any) -> None:
    token = tmp_path / "token"
    kafka = admin | {"sasl_mechanism": "OAUTHBEARER", "oauth_token_file": token}
    assert check(kafka) == [f"kafka.oauth_token_file: {token}: No such file or directory"]
    token.write_text("rubbish\n")
    assert check(kafka)[0].startswith("kafka.sasl_mechanism: OAUTHBEARER: authentication failed; check the token")
    token.write_text(unsecured_token("admin") + "\n")
    assert check(kafka) == []


def test_missing_permissions_are_all_named(secure: dict[str, Any], secure_kafka: ApacheKafka) -> None:
    assert check(secure) == [
        "source.dead_letter_topic: dead: no permission to write to the topic; grant User:app WRITE on topic dead",
        "source.group_id: g: no permission to join the consumer group; grant User:app READ on group g",
    ]
    assert check(secure, ("alerts", "events", "hidden"), group="other") == [
        "source.topic: alerts: no permission to read from the topic; grant User:app READ on topic alerts",
        "source.dead_letter_topic: hidden: no permission to see the topic; grant User:app WRITE on topic hidden",
        "sinks.kafka.topic: events: no permission to write to the topic; grant User:app WRITE on topic events",
        "source.group_id: other: no permission to join the consumer group; grant User:app READ on group other",
    ]


def test_files_that_cannot_be_used_are_all_named(tmp_path: Any) -> None:
    (tmp_path / "ca").write_text("no certificate")
    problems = check({
        "bootstrap_servers": "localhost:1",
        "security_protocol": "SASL_SSL",
        "ssl_cafile": tmp_path / "ca",
        "ssl_certfile": tmp_path / "missing",
        "ssl_ciphers": "NONSENSE",
        "sasl_mechanism": "PLAIN",
        "sasl_username": "u",
        "sasl_password_file": tmp_path / "password",
    })  # fmt: skip
    assert [problem.split(": ")[0] for problem in problems] == [
        "kafka.ssl_cafile", "kafka.ssl_certfile and ssl_keyfile", "kafka.ssl_ciphers", "kafka.sasl_password_file",
    ]  # fmt: skip
    assert problems[3] == f"kafka.sasl_password_file: {tmp_path / 'password'}: No such file or directory"
