"""Poisoned records among good ones, through Apache Kafka: each is judged, dead-lettered or named as unread."""

from __future__ import annotations

import json
import threading

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from monitor.config.sections import KafkaConfig, OtelConfig, SourceConfig
from monitor.events.event import EventLimits
from monitor.pipeline import Delivery, Pipeline, Totals
from monitor.sinks.dead_letter import KafkaDeadLetters
from monitor.sources.kafka import KafkaSource
from monitor.telemetry.health import Health
from monitor.telemetry.telemetry import Telemetry
from tests.brokers import ApacheKafka
from tests.log_segment import LogSegment
from tests.test_pipeline import RecordingSink, SmallEngine
from tests.topics import new_topic, read

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(90)]

BATCHES, SIZE = 30, 4


def test_everything_is_accounted_for(apache_kafka: ApacheKafka) -> None:
    topic, dead = new_topic(apache_kafka), new_topic(apache_kafka)
    kafka = KafkaConfig(bootstrap_servers=apache_kafka.bootstrap_servers)
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap_servers, linger_ms=1_000)
    for batch in range(BATCHES):
        for n in range(SIZE):
            good = json.dumps({"id": f"{batch}-{n}", "response": "alert"}).encode()
            producer.send(topic, value=b"not json" if (batch, n) == (3, 1) else good)
        producer.flush(10)
    producer.close(5)
    segment = LogSegment(apache_kafka, topic)
    segment.overwrite(10, segment.RECORDS + 3, b"!", keep_crc=True)
    segment.overwrite(20, segment.ATTRIBUTES, b"\x00\x05")

    source = KafkaSource(kafka, SourceConfig(topic=topic, group_id=topic, max_poll_records=7, poll_timeout_ms=200))
    letters = KafkaDeadLetters(kafka, dead)
    sink = RecordingSink([])
    telemetry, health, stop = Telemetry(OtelConfig(), "0", {}), Health(300, components=("consumer",)), threading.Event()

    def stop_at_the_end(totals: Totals) -> None:
        if totals.records + totals.unread == BATCHES * SIZE:
            stop.set()

    delivery = Delivery([sink], letters, EventLimits(), "auto")
    totals = Pipeline(source, SmallEngine(), delivery, telemetry, health, stop, stop_at_the_end).run()
    source.close()
    letters.close()
    telemetry.shutdown()

    assert (totals.events, totals.bad, totals.unread) == (BATCHES * SIZE - 9, 1, 8)
    assert len(sink.safe) == totals.events
    found = [dict(record.headers) for record in read(kafka, dead, 3)]
    places = [(h["latentwatch-offset"], h.get("latentwatch-last-offset"), h.get("latentwatch-unread")) for h in found]
    assert sorted(places) == [(b"13", None, None), (b"40", b"43", b"corrupt"), (b"80", b"83", b"codec")]
    reasons = {h["latentwatch-reason"] for h in found if "latentwatch-unread" in h}
    assert reasons == {b"the checksum of the batch does not match", b"the compression codec number 5 is unknown"}

    consumer = KafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, group_id=topic)
    assert consumer.committed(TopicPartition(topic, 0)) == BATCHES * SIZE
    consumer.close()
