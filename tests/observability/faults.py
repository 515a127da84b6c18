"""Faults: what breaks a running stack, or its traffic, and the alerts that follow."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import yaml
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

from monitor.demo.run import PARTITIONS
from monitor.demo.sample_events import demo_events
from monitor.demo.sidecar_process import SidecarProcess
from monitor.demo.stack.traffic import CANARY_TENANT
from tests.brokers import free_ports
from tests.observability.running import Alert, Running

EVENTS = "llm.events"
ALERTS = "llm.alerts"
LATE_S = 3_600
BURST = 30
READ_IN_SILENCE = 1_200
READ_OF_OTHERS = 300
WINDOW_S = 30
"""How long both rules about silence look back here."""
UNREAD = 12_000
_RISKY = next(event for event in demo_events() if event.id == "demo-0019")


def risky(name: str, tenant: str) -> tuple[str, bytes]:
    """An event that alerts."""
    body = json.loads(_RISKY.value)
    del body["time"]
    return name, json.dumps({**body, "id": name, "attributes": {"tenant": tenant}}).encode()


def harmless(start: str, count: int) -> list[tuple[str, bytes]]:
    """Events that do not alert, as small as events can be."""
    return [(f"{start}-{n}", json.dumps({"id": f"{start}-{n}", "response": "Yes."}).encode()) for n in range(count)]


def nothing_published(running: Running) -> None:
    running.stack.traffic.send(4)
    running.until_true("sum(increase(messaging_client_consumed_messages_total[1d])) > 0")


def bad_record(running: Running) -> None:
    running.stack.topics.publish(EVENTS, [("bad", b'{"id":')])


def events_published_late(running: Running) -> None:
    producer = KafkaProducer(bootstrap_servers=running.broker.bootstrap_servers)
    then_ms = round((time.time() - LATE_S) * 1000)
    for key, value in harmless("late", 30):
        producer.send(EVENTS, key=key.encode(), value=value, timestamp_ms=then_ms)
    producer.flush(10)
    producer.close(5)


def burst(running: Running) -> None:
    """Of one tenant, who has alerted before."""
    running.stack.topics.publish(EVENTS, [risky("before", "acme")])
    running.stack.traffic.send_canary("before-burst")
    for tenant in ("acme", CANARY_TENANT):
        running.until_true(f'sum(latentwatch_alerts_total{{latentwatch_attribute_tenant="{tenant}"}}) > 0')
    running.stack.topics.publish(EVENTS, [risky(f"burst-{n}", "acme") for n in range(BURST)])
    running.stack.traffic.send_canary("burst")


def sets_switched_off(running: Running) -> None:
    """The sets that the canary alerts; what alerted before is still published, among many other events.

    Before that, the same events for longer than the rules look back, to see that it is the sets that make them fire.
    """
    silent = [alert("SetSilent"), alert("CanarySilent")]
    running.stack.topics.publish(EVENTS, harmless("heard", READ_IN_SILENCE))
    loud_until = time.monotonic() + WINDOW_S + 10
    for n in itertools.count():
        running.stack.topics.publish(EVENTS, [risky(f"seen-{n}", "acme")])
        running.stack.traffic.send_canary(f"seen-{n}")
        time.sleep(3)
        if time.monotonic() > loud_until:
            break
    assert not any(running.firing(each) for each in silent)
    alerted = running.prometheus.query(
        f'sum by (latentwatch_set_id) (latentwatch_alerts_total{{latentwatch_attribute_tenant="{CANARY_TENANT}"}}) > 0'
    )
    off = {series.labels["latentwatch_set_id"]: {"enabled": False} for series in alerted}
    applied = 'sum(latentwatch_config_reloads_total{latentwatch_reload_outcome="applied"})'
    before = running.prometheus.query(applied)[0].value
    _change_config(running, {"feature_sets": {"overrides": off}})
    running.until_true(f"{applied} > {before}")
    running.stack.topics.publish(EVENTS, harmless("silent", READ_IN_SILENCE))
    running.stack.topics.publish(EVENTS, [risky("unseen", "acme")])
    running.stack.traffic.send_canary("unseen")


def other_traffic(running: Running) -> None:
    """What was one event among many before is every event now."""
    running.stack.topics.publish(EVENTS, harmless("usual", READ_IN_SILENCE))
    read = "sum(increase(latentwatch_events_judged_total[5m] offset 30s)) > 200"
    running.until_true(read)
    assert not running.firing(alert("FeatureRateDrift"))
    running.stack.topics.publish(EVENTS, [risky(f"other-{n}", "acme") for n in range(READ_OF_OTHERS)])


def second_sidecar(running: Running) -> None:
    """With another threshold, and an HTTP intake to which somebody sends what is no event."""
    folder = running.stack.demo.folder / "second"
    folder.mkdir()
    port, intake = free_ports(2)
    config = {
        "source": {"kind": "http"},
        "http": {"port": intake},
        "feature_sets": {"overrides": {"bias": {"threshold": 0.9}}},
        "alerts": {"attributes": ["tenant"]},
        "sinks": {"jsonl": {"enabled": True, "path": str(folder / "alerts.jsonl")}},
        "health": {"host": "127.0.0.1", "port": port},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    second = running.undo.enter_context(SidecarProcess(path, port, folder / "sidecar.log"))
    second.wait_ready(120)
    first = running.stack.sidecar.address
    running.undo.callback(running.scrape, [first])  # before the process ends
    running.scrape([first, second.address])
    running.until_true("count(latentwatch_intake_refused_total) > 0")
    assert _post(intake, b"no event") >= 400


def receiver_refuses(running: Running) -> None:
    running.otlp.status = 400
    running.stack.traffic.send_canary("refused")


def receiver_rejects(running: Running) -> None:
    running.otlp.status = 200
    running.otlp.rejected = 1
    running.stack.traffic.send_canary("rejected")


def wrong_config(running: Running) -> None:
    _change_config(running, {"feature_sets": {"overrides": {"no-such-set": {"enabled": False}}}})


def alert_topic_deleted(running: Running) -> None:
    """Nothing is read any more, and more and more events wait."""
    _admin(running, lambda admin: admin.delete_topics([ALERTS]))
    for n in range(3):
        running.stack.traffic.send_canary(f"undeliverable-{n}")
    running.stack.topics.publish(EVENTS, harmless("waiting", UNREAD))


def unread_records_deleted(running: Running) -> None:
    """As the topic's retention does after a long stop; then alerts can be delivered again."""
    everything = {TopicPartition(EVENTS, n): -1 for n in range(PARTITIONS[EVENTS])}
    _admin(running, lambda admin: admin.delete_records(everything))
    running.broker.create_topics({ALERTS: PARTITIONS[ALERTS]})


def broker_gone(running: Running) -> None:
    running.until_true("sum(latentwatch_queue_depth) == 0")  # what waits is delivered first
    running.broker.kill()


def sidecar_killed(running: Running) -> None:
    os.kill(running.stack.sidecar.pid, signal.SIGKILL)


def alert(name: str, **labels: str) -> Alert:
    return {"alertname": f"Latentwatch{name}", **labels}


FAULTS: list[tuple[Callable[[Running], None], list[Alert]]] = [
    # in this order, in one run
    (nothing_published, [alert("NoEvents")]),
    (bad_record, [alert("DeadLetters")]),
    (events_published_late, [alert("EventsLate")]),
    (burst, [alert("AlertBurst"), alert("TenantAlertBurst", latentwatch_attribute_tenant="acme")]),
    (sets_switched_off, [alert("SetSilent"), alert("CanarySilent")]),
    (other_traffic, [alert("FeatureRateDrift", latentwatch_set_id="bias")]),
    (second_sidecar, [alert("ConfigsDiffer"), alert("IntakeRefusing")]),
    (receiver_refuses, [alert("ExportFailing"), alert("SinkFailing", latentwatch_sink="otel")]),
    (receiver_rejects, [alert("ExportDropped"), alert("SinkDropped")]),
    (wrong_config, [alert("ConfigRefused")]),
    (
        alert_topic_deleted,
        [alert("SinkFailing", latentwatch_sink="kafka"), alert("Stalled"), alert("Lag"), alert("LagGrowing")],
    ),
    (unread_records_deleted, [alert("OffsetsUnread", error_type="deleted")]),
    (broker_gone, [alert("SourceFailing"), alert("NotReady")]),
    (sidecar_killed, [alert("Down"), alert("Absent")]),
]


def _change_config(running: Running, sections: dict[str, Any]) -> None:
    """Until the fault is over."""
    config = yaml.safe_load(running.stack.demo.config.read_text())
    running.undo.callback(running.stack.write_config, config)
    running.stack.write_config({**config, **sections})


def _admin(running: Running, act: Callable[[KafkaAdminClient], object]) -> None:
    admin = KafkaAdminClient(bootstrap_servers=running.broker.bootstrap_servers)
    try:
        act(admin)
    finally:
        admin.close()


def _post(port: int, body: bytes) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", "/v1/events", body, {"Content-Type": "application/json"})
        return connection.getresponse().status
    finally:
        connection.close()
