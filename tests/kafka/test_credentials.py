"""What a running sidecar says of certificates, passwords and permissions that do not fit: in /readyz and in its log."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monitor.config.sections import KafkaConfig, SourceConfig
from monitor.config.sinks import OtelConfig
from monitor.errors import Permanent
from monitor.events.event import EventLimits
from monitor.pipeline import Delivery, Pipeline
from monitor.sinks.jsonl import JsonlDeadLetters, JsonlSink
from monitor.sources.kafka import KafkaSource
from monitor.telemetry.health import Health
from monitor.telemetry.telemetry import Telemetry
from tests.brokers import USER_PASSWORD, ApacheKafka
from tests.certificates import Authority
from tests.test_pipeline import SmallEngine
from tests.topics import new_topic

# the promise is a reason within 10 s
pytestmark = [pytest.mark.kafka, pytest.mark.timeout(15, func_only=True)]


@pytest.fixture(scope="module")
def topic(secure_kafka: ApacheKafka) -> str:
    return new_topic(secure_kafka)


def told(kafka: dict[str, Any], topic: str, folder: Path, caplog: pytest.LogCaptureFixture) -> tuple[str, list[str]]:
    """What /readyz says once it says why, and the lines of the log about it."""
    section = SourceConfig(topic=topic, group_id="g", poll_timeout_ms=200)
    telemetry, health, stop = Telemetry(OtelConfig(), "0", {}), Health(300), threading.Event()
    sink, letters = JsonlSink(folder / "alerts.jsonl"), JsonlDeadLetters(folder / "bad.jsonl")
    source = KafkaSource(KafkaConfig.model_validate(kafka), section)
    delivery = Delivery([sink], letters, EventLimits(), "auto")
    pipeline = Pipeline(source, SmallEngine(), delivery, telemetry, health, stop)  # type: ignore[arg-type]
    failed: list[Exception] = []

    def run() -> None:
        try:
            pipeline.run()
        except Permanent as e:
            failed.append(e)

    loop = threading.Thread(target=run)
    with caplog.at_level(logging.WARNING):
        loop.start()
        try:
            while not failed and not any(":" in reason for reason in health.ready()):
                time.sleep(0.05)
        finally:
            stop.set()
            loop.join()
            for opened in (sink, letters, source):
                opened.close()
            telemetry.shutdown()
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("monitor.")]
    return " ".join(map(str, failed)) or " ".join(health.ready()), lines


def test_an_authority_that_did_not_sign(
    secure_kafka: ApacheKafka, topic: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = Authority(tmp_path, "stranger").ca_file
    ready, log = told(secure_kafka.admin_config().model_dump() | {"ssl_cafile": stranger}, topic, tmp_path, caplog)
    assert "the certificate of the broker is not signed by an authority in kafka.ssl_cafile" in ready
    assert any("not signed by an authority in kafka.ssl_cafile" in line for line in log)


def test_a_certificate_for_another_host_name(
    secure_kafka: ApacheKafka, topic: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    by_ip = secure_kafka.bootstrap_servers.replace("localhost", "127.0.0.1")
    kafka = secure_kafka.admin_config().model_dump() | {"bootstrap_servers": by_ip}
    ready, log = told(kafka, topic, tmp_path, caplog)
    assert "the certificate of the broker is for another host name" in ready
    assert any("for another host name" in line for line in log)


@pytest.fixture
def expired(authority: Authority) -> Iterator[str]:
    """A port that speaks TLS with a certificate that was good until a day ago."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.issue("expired", hosts=("localhost",), days=-1))
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):
                    context.wrap_socket(connection, server_side=True).close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"localhost:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_certificate_that_has_expired(
    expired: str, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kafka = {"bootstrap_servers": expired, "security_protocol": "SSL", "ssl_cafile": authority.ca_file}
    ready, log = told(kafka, "t", tmp_path, caplog)
    assert "the certificate of the broker has expired" in ready
    assert any("has expired" in line for line in log)


def test_a_wrong_password_stops_the_process_in_words(
    secure_kafka: ApacheKafka, topic: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kafka = secure_kafka.admin_config().model_dump() | {"sasl_password": "wrong"}
    said, _ = told(kafka, topic, tmp_path, caplog)
    assert "the broker refuses the login; check kafka.sasl_username and its password" in said
    assert "wrong" not in said.replace("wrong version", "")


def test_a_missing_permission(
    secure_kafka: ApacheKafka, topic: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    login = {"sasl_username": "nobody", "sasl_password": USER_PASSWORD}
    ready, log = told(secure_kafka.admin_config().model_dump() | login, topic, tmp_path, caplog)
    assert "not authorised to" in ready
    assert ": grant READ" in ready
    assert any("not authorised to" in line for line in log)
