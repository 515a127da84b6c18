"""A pipeline over a written topic, from its start to its end, in a group of its own."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from monitor.config.sections import KafkaConfig, OtelConfig, SourceConfig
from monitor.engine import Evaluation
from monitor.events.event import Event
from monitor.pipeline import Delivery, Pipeline, Totals
from monitor.sinks.dead_letter import KafkaDeadLetters
from monitor.sources.kafka import KafkaSource
from monitor.telemetry.health import Health
from monitor.telemetry.telemetry import Telemetry
from tests.brokers import ApacheKafka
from tests.integration.poison import LIMITS, Written


class NoReading:
    """An engine that reads nothing, so that only source, parsing, delivery and commits take time."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def evaluate(self, events: Sequence[Event], on_group: Callable[[], None] = lambda: None) -> Iterator[Evaluation]:
        self.events += events
        for event in events:
            yield Evaluation(event, (), tokens=1, windows=1, fallback=False, seconds=0.0)


@dataclass(frozen=True)
class Ran:
    """What a pipeline did, and how long it took from its first commit to its last."""

    totals: Totals
    group: str
    records: int
    """Records and unread offsets after the first batch."""
    seconds: float
    cpu_s: float

    @property
    def records_per_s(self) -> float:
        return self.records / self.seconds


def run(broker: ApacheKafka, written: Written, dead_letters: str, engine: NoReading, **source: int) -> Ran:
    """Reads the whole topic; ends when every record that it should give is accounted for."""
    kafka = KafkaConfig(bootstrap_servers=broker.bootstrap_servers)
    group = f"group-{uuid.uuid4().hex[:10]}"
    opened = KafkaSource(kafka, SourceConfig(topic=written.topic, group_id=group, **source))
    letters = KafkaDeadLetters(kafka, dead_letters)
    telemetry, health, stop = Telemetry(OtelConfig(), "0", {}), Health(300, components=("consumer",)), threading.Event()
    marks: list[tuple[int, float, float]] = []

    def note(totals: Totals) -> None:
        marks.append((totals.records + totals.unread, time.perf_counter(), time.process_time()))
        if marks[-1][0] >= written.records:
            stop.set()

    try:
        delivery = Delivery([], letters, LIMITS, "auto")
        totals = Pipeline(opened, engine, delivery, telemetry, health, stop, note).run()
        opened.poll()  # markers of transactions behind the last record
        opened.commit()
    finally:
        opened.close()
        letters.close()
        telemetry.shutdown()
    (first, started, cpu), (last, ended, cpu_end) = marks[0], marks[-1]
    return Ran(totals, group, last - first, ended - started, cpu_end - cpu)
