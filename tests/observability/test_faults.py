"""The alert rules for faults, each in a real run in which its fault is made. `make observe-check` runs this."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from kafka import KafkaAdminClient

from monitor.demo.run import PARTITIONS
from monitor.demo.stack.prometheus import Prometheus
from monitor.demo.stack.stack import Stack, StackFiles
from tests.brokers import ApacheKafka, kafka_home
from tests.observability.files import REPOSITORY, RULES
from tests.otlp_receiver import OtlpReceiver

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.model,
    pytest.mark.faults,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="Prometheus is not installed (apt: prometheus)"),
]

WAIT_S = 60.0
Alert = dict[str, str]
"""Labels."""


@dataclass(frozen=True)
class Running:
    """A stack, and what is needed to break it."""

    stack: Stack
    prometheus: Prometheus
    broker: ApacheKafka
    otlp: OtlpReceiver

    def firing(self, alert: Alert) -> bool:
        matchers = ", ".join(f'{name}="{value}"' for name, value in alert.items())
        return bool(self.prometheus.query(f'ALERTS{{alertstate="firing", {matchers}}}'))

    def told(self, alert: Alert) -> bool:
        """Whether Alertmanager has it."""
        assert self.stack.alertmanager is not None
        return any(alert.items() <= labels.items() for labels in self.stack.alertmanager.alerts())


def impatient_rules(folder: Path) -> Path:
    """The shipped rules, except that nothing has to last for minutes before they fire."""
    text = re.sub(r"^( +for:) .*$", r"\1 1s", RULES.read_text(), flags=re.MULTILINE)
    text, replaced = re.subn(r"(last_commit_timestamp_seconds\{[^}]*\}) > 600", r"\1 > 3", text)
    assert replaced == 1
    path = folder / "rules.yaml"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Under a little traffic, with nothing broken."""
    out = tmp_path_factory.mktemp("faults")
    home = kafka_home()
    if home is None:
        pytest.skip("set KAFKA_HOME to an Apache Kafka download (and install Java) to run this test")
    broker = ApacheKafka(home, tmp_path_factory.mktemp("kafka"))
    with OtlpReceiver() as otlp:
        files = StackFiles(REPOSITORY / "deploy", out, rules=impatient_rules(out), otlp=otlp.url)
        with Stack(files, broker) as stack:
            assert stack.prometheus is not None
            made = Running(stack, stack.prometheus, broker, otlp)
            stack.wait_ready()
            stack.traffic.send(8)
            stack.until(lambda: bool(made.prometheus.query("sum(latentwatch_commits_total) > 0")), "commits", WAIT_S)
            yield made


def bad_record(running: Running) -> None:
    running.stack.topics.publish("llm.events", [("bad", b'{"id":')])


def receiver_refuses(running: Running) -> None:
    running.otlp.status = 400
    running.stack.traffic.send_canary("refused")


def receiver_rejects(running: Running) -> None:
    running.otlp.status = 200
    running.otlp.rejected = 1
    running.stack.traffic.send_canary("rejected")


def wrong_config(running: Running) -> None:
    path = running.stack.demo.config
    config = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**config, "feature_sets": {"overrides": {"no-such-set": {"enabled": False}}}}))


def alert_topic_deleted(running: Running) -> None:
    admin = KafkaAdminClient(bootstrap_servers=running.broker.bootstrap_servers)
    admin.delete_topics(["llm.alerts"])
    admin.close()
    for n in range(3):
        running.stack.traffic.send_canary(f"undeliverable-{n}")


def broker_gone(running: Running) -> None:
    running.broker.create_topics({"llm.alerts": PARTITIONS["llm.alerts"]})  # what waits is delivered first
    until(lambda: bool(running.prometheus.query("sum(latentwatch_queue_depth) == 0")), "nothing waits")
    running.broker.kill()


def sidecar_killed(running: Running) -> None:
    os.kill(running.stack.sidecar.pid, signal.SIGKILL)


def alert(name: str, **labels: str) -> Alert:
    return {"alertname": f"Latentwatch{name}", **labels}


@pytest.mark.parametrize(
    ("fault", "alerts"),
    [
        (bad_record, [alert("DeadLetters")]),
        (receiver_refuses, [alert("ExportFailing"), alert("SinkFailing", latentwatch_sink="otel")]),
        (receiver_rejects, [alert("ExportDropped"), alert("SinkDropped")]),
        (wrong_config, [alert("ConfigRefused")]),
        (alert_topic_deleted, [alert("SinkFailing", latentwatch_sink="kafka"), alert("Stalled")]),
        (broker_gone, [alert("SourceFailing"), alert("NotReady")]),
        (sidecar_killed, [alert("Down"), alert("Absent")]),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_fault_fires_its_alerts(running: Running, fault: Callable[[Running], None], alerts: list[Alert]) -> None:
    """The faults come one after the other in the same run."""
    for each in alerts:
        assert not running.firing(each)
    fault(running)
    until(lambda: all(running.firing(each) for each in alerts), str(alerts))
    if running.stack.alertmanager is not None:
        until(lambda: all(running.told(each) for each in alerts), f"{alerts} in Alertmanager")


def until(condition: Callable[[], bool], what: str) -> None:
    give_up_at = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < give_up_at, what
        time.sleep(0.1)
