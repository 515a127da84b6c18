"""The alert rules, each in a real run in which its fault is made. `make observe-check` runs this."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from monitor.demo.stack.stack import Stack, StackFiles
from tests.brokers import ApacheKafka, kafka_home
from tests.observability.faults import FAULTS
from tests.observability.files import REPOSITORY, alert_rules
from tests.observability.running import WAIT_S, Alert, Running, impatient_rules, until
from tests.otlp_receiver import OtlpReceiver


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
            made = Running(stack, stack.prometheus, broker, otlp, ExitStack())
            stack.wait_ready()
            stack.traffic.send(8)
            stack.until(lambda: bool(made.prometheus.query("sum(latentwatch_commits_total) > 0")), "commits", WAIT_S)
            yield made


@pytest.mark.kafka
@pytest.mark.model
@pytest.mark.faults
@pytest.mark.skipif(shutil.which("prometheus") is None, reason="Prometheus is not installed (apt: prometheus)")
@pytest.mark.parametrize(("fault", "alerts"), FAULTS, ids=lambda value: value.__name__ if callable(value) else "")
def test_a_fault_fires_its_alerts(running: Running, fault: Callable[[Running], None], alerts: list[Alert]) -> None:
    """The faults come one after the other in the same run."""
    until(lambda: not any(running.firing(each) for each in alerts), f"nothing of {alerts} from before")
    with running.undo:
        fault(running)
        until(lambda: all(running.firing(each) for each in alerts), str(alerts))
        if running.stack.alertmanager is not None:
            until(lambda: all(running.told(each) for each in alerts), f"{alerts} in Alertmanager")


def test_every_alert_has_a_fault() -> None:
    made = {each["alertname"] for _, alerts in FAULTS for each in alerts}
    assert made == {rule["alert"] for rule in alert_rules()}
