"""Poisoned records among good ones, through Apache Kafka: each is judged, dead-lettered or named as unread."""

from __future__ import annotations

import pytest
from kafka import KafkaConsumer, TopicPartition

from monitor.config.sections import KafkaConfig
from tests.brokers import ApacheKafka
from tests.integration.poison import DEAD, JUDGED, UNREAD, kinds, write
from tests.integration.poisoned_run import NoReading, run
from tests.topics import new_topic, read

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(90)]

COUNT, EVERY = 600, 10


def test_everything_is_accounted_for(apache_kafka: ApacheKafka) -> None:
    written = write(apache_kafka, COUNT, EVERY, poison=True)
    assert set(written.kinds.values()) == {kind.name for kind in kinds()}
    dead, engine = new_topic(apache_kafka), NoReading()
    ran = run(apache_kafka, written, dead, engine, max_poll_records=7, poll_timeout_ms=200)
    totals = ran.totals

    # consumed = judged + dead-lettered + unread, each of them the right ones
    assert sorted(event.origin.offset for event in engine.events) == sorted(written.offsets[JUDGED])
    assert (totals.events, totals.bad, totals.unread) == tuple(len(written.offsets[f]) for f in (JUDGED, DEAD, UNREAD))
    assert totals.records + totals.unread == written.records

    kafka = KafkaConfig(bootstrap_servers=apache_kafka.bootstrap_servers)
    letters = [dict(record.headers) for record in read(kafka, dead, totals.bad + totals.unread)]
    ranges = [letter for letter in letters if "latentwatch-unread" in letter]
    assert {int(h["latentwatch-offset"]) for h in letters if h not in ranges} == written.offsets[DEAD]
    lost = [n for h in ranges for n in range(int(h["latentwatch-offset"]), int(h["latentwatch-last-offset"]) + 1)]
    assert sorted(lost) == sorted(written.offsets[UNREAD])
    assert len(letters) == totals.bad + totals.unread

    consumer = KafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, group_id=ran.group)
    assert consumer.committed(TopicPartition(written.topic, 0)) == written.end
    consumer.close()
