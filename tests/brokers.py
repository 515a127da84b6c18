"""Real brokers for tests: Apache Kafka as one KRaft node, plain or with TLS, SASL and ACLs."""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Protocol

from monitor.config.sections import KafkaConfig
from monitor.demo.broker import create_topics

ADMIN_PASSWORD = "admin-secret"
USER_PASSWORD = "user-secret"
SCRAM_PASSWORD = "scram-secret"


class AnyBroker(Protocol):
    """What tests need of a broker."""

    @property
    def bootstrap_servers(self) -> str:
        """host:port."""

    def create_topics(self, partitions: Mapping[str, int]) -> None:
        """Creates topics: name -> number of partitions."""


def kafka_home() -> Path | None:
    """The folder of an Apache Kafka download, where this machine has one and Java too."""
    home = os.environ.get("KAFKA_HOME")
    return Path(home) if home and shutil.which("java") else None


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on."""
    socks = [socket.socket() for _ in range(count)]
    try:
        for sock in socks:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in socks]
    finally:
        for sock in socks:
            sock.close()


class ApacheKafka:
    """One broker and controller process; `tls` (PEM key store, PEM trust store) makes it SASL_SSL with ACLs.

    As a context manager it starts and stops; `kill` and `start` in between keep the data.
    """

    def __init__(self, home: Path, folder: Path, tls: tuple[Path, Path] | None = None) -> None:
        self._home = home
        self._folder = folder
        self._tls = tls
        self._process: subprocess.Popen[bytes] | None = None
        self.port, self._controller_port, self.mutual_tls_port = free_ports(3)

    @property
    def bootstrap_servers(self) -> str:
        """host:port of the client listener; its certificate names localhost."""
        return f"{'localhost' if self._tls else '127.0.0.1'}:{self.port}"

    @property
    def data_folder(self) -> Path:
        """Where the node keeps a folder for each partition."""
        return self._folder / "data"

    def start(self) -> None:
        """Starts the node on its data and waits until it answers."""
        log = (self._folder / "kafka.log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [
                    "java",
                    "-Xms128m",
                    "-Xmx384m",
                    "-XX:+UseSerialGC",
                    "-XX:TieredStopAtLevel=1",
                    f"-Dlog4j2.configurationFile={self._folder / 'log4j2.properties'}",
                    "-cp",
                    f"{self._home}/libs/*",
                    "kafka.Kafka",
                    str(self._folder / "server.properties"),
                ],
                stdout=log,
                stderr=log,
            )
        give_up_at = time.monotonic() + 180  # a machine that others use too may take its time
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                if self._process.poll() is not None or time.monotonic() > give_up_at:
                    self.kill()
                    said = (self._folder / "kafka.log").read_text()[-3000:]
                    raise RuntimeError(f"Apache Kafka did not start: {said}") from None
                time.sleep(0.1)
            else:
                return

    def kill(self) -> None:
        """Ends the node as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Stops the node from answering, its port still open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Undoes `freeze`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def create_topics(self, partitions: Mapping[str, int]) -> None:
        """Creates topics as an administrator."""
        create_topics(self.admin_config(), partitions)

    def admin_config(self) -> KafkaConfig:
        """How an administrator connects."""
        if self._tls is None:
            return KafkaConfig(bootstrap_servers=self.bootstrap_servers)
        return KafkaConfig(
            bootstrap_servers=self.bootstrap_servers,
            security_protocol="SASL_SSL",
            ssl_cafile=self._tls[1],
            sasl_mechanism="PLAIN",
            sasl_username="admin",
            sasl_password=ADMIN_PASSWORD,
        )

    def __enter__(self) -> ApacheKafka:
        (self._folder / "log4j2.properties").write_text(
            "appender.c.type=Console\nappender.c.name=c\nappender.c.layout.type=PatternLayout\n"
            "appender.c.layout.pattern=%d %p %c %m%n\nrootLogger.level=warn\nrootLogger.appenderRef.c.ref=c\n"
        )
        properties = self._folder / "server.properties"
        properties.write_text("\n".join(self._settings()))
        cluster = base64.urlsafe_b64encode(b"k" + secrets.token_bytes(15)).decode().rstrip("=")
        command = ["java", "-XX:TieredStopAtLevel=1", "-cp", f"{self._home}/libs/*", "kafka.tools.StorageTool"]
        command += ["format", "-t", cluster, "-c", str(properties)]
        if self._tls is not None:
            command += ["--add-scram", f"SCRAM-SHA-512=[name=scram,password={SCRAM_PASSWORD}]"]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _settings(self) -> list[str]:
        lines = [
            "process.roles=broker,controller",
            "node.id=1",
            f"controller.quorum.voters=1@127.0.0.1:{self._controller_port}",
            "controller.listener.names=CONTROLLER",
            f"log.dirs={self._folder / 'data'}",
            "offsets.topic.replication.factor=1",
            "transaction.state.log.replication.factor=1",
            "transaction.state.log.min.isr=1",
            "offsets.topic.num.partitions=4",
            "transaction.state.log.num.partitions=4",
            "group.initial.rebalance.delay.ms=0",
            "group.min.session.timeout.ms=1000",
            "auto.create.topics.enable=false",
        ]
        if self._tls is None:
            return [
                *lines,
                f"listeners=PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self._controller_port}",
                f"advertised.listeners=PLAINTEXT://127.0.0.1:{self.port}",
                "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            ]
        keystore, truststore = self._tls
        plain = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule required"
        oauth = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required"
        admin = f'username="admin" password="{ADMIN_PASSWORD}"'
        users = f'user_admin="{ADMIN_PASSWORD}" user_app="{USER_PASSWORD}" user_nobody="{USER_PASSWORD}"'
        return [
            *lines,
            f"listeners=SASL_SSL://127.0.0.1:{self.port},MTLS://127.0.0.1:{self.mutual_tls_port},"
            f"CONTROLLER://127.0.0.1:{self._controller_port}",
            f"advertised.listeners=SASL_SSL://localhost:{self.port},MTLS://localhost:{self.mutual_tls_port}",
            "listener.security.protocol.map=CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL,MTLS:SSL",
            "inter.broker.listener.name=SASL_SSL",
            "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512,OAUTHBEARER",
            "sasl.mechanism.inter.broker.protocol=PLAIN",
            f"listener.name.sasl_ssl.plain.sasl.jaas.config={plain} {admin} {users};",
            f"listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={scram};",
            f'listener.name.sasl_ssl.oauthbearer.sasl.jaas.config={oauth} unsecuredLoginStringClaim_sub="admin";',
            "listener.name.mtls.ssl.client.auth=required",
            "ssl.keystore.type=PEM",
            f"ssl.keystore.location={keystore}",
            "ssl.truststore.type=PEM",
            f"ssl.truststore.location={truststore}",
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users=User:admin;User:ANONYMOUS;User:CN=client",
            "allow.everyone.if.no.acl.found=false",
        ]
