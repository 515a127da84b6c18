"""What the chart's StatefulSet relies on: a static member that restarts gets its partitions back, no other moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from monitor.config.sections import KafkaConfig, SourceConfig
from monitor.events.event import Record
from monitor.sources.kafka import KafkaSource
from tests.brokers import ApacheKafka
from tests.sources.polling import lag
from tests.topics import fill, new_topic

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]

Member = Callable[[str], KafkaSource]


@pytest.fixture
def topic(apache_kafka: ApacheKafka) -> str:
    return new_topic(apache_kafka, partitions=4)


@pytest.fixture
def member(apache_kafka: ApacheKafka, topic: str) -> Iterator[Member]:
    opened: list[KafkaSource] = []

    def open_(name: str) -> KafkaSource:
        kafka = KafkaConfig(bootstrap_servers=apache_kafka.bootstrap_servers, options={"group_instance_id": name})
        settings = {"session_timeout_ms": 20_000, "heartbeat_interval_ms": 300, "poll_timeout_ms": 200}
        source = SourceConfig.model_validate({"topic": topic, "group_id": f"group-{topic}", **settings})
        opened.append(KafkaSource(kafka, source))
        return opened[-1]

    yield open_
    for source in opened:
        source.close()


def _read(sources: list[KafkaSource], count: int) -> list[dict[int, list[bytes | None]]]:
    """The next `count` records, as partition -> values for each source; all are committed."""
    found: list[dict[int, list[bytes | None]]] = [{} for _ in sources]
    for _ in range(200):
        for source, mine in zip(sources, found, strict=True):
            for record in source.poll():
                assert isinstance(record, Record)
                mine.setdefault(record.origin.partition, []).append(record.value)
            source.commit()
        if sum(len(values) for mine in found for values in mine.values()) >= count:
            return found
    pytest.fail(f"only {found} of {count} records")


def test_a_restart_moves_no_partition_and_loses_nothing(apache_kafka: ApacheKafka, topic: str, member: Member) -> None:
    first, second = member("server-0"), member("server-1")
    for _ in range(200):
        if first.assigned and second.assigned and (lag(first), lag(second)) == (0, 0):
            break
        first.poll()
        second.poll()
    fill(apache_kafka, topic, [b"%d" % n for n in range(8)], partitions=4)
    mine, theirs = _read([first, second], 8)
    assert len(mine) == len(theirs) == 2

    second.close()
    fill(apache_kafka, topic, [b"%d" % n for n in range(8, 16)], partitions=4)
    (kept,) = _read([first], 4)
    assert kept.keys() == mine.keys()

    kept, back = _read([first, member("server-1")], 4)
    assert kept == {}
    assert back == {partition: [b"%d" % (8 + partition), b"%d" % (12 + partition)] for partition in theirs}
