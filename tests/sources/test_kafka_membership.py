"""KafkaSource as a member of its group: restarts of a static member, and a coordinator that does not answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from monitor.config.sections import KafkaConfig, SourceConfig
from monitor.errors import Retryable
from monitor.sources import kafka as kafka_source
from monitor.sources.kafka import KafkaSource
from tests.brokers import ApacheKafka
from tests.sources.polling import Open, take, values
from tests.topics import fill, new_topic

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]

OpenStatic = Callable[[str, str], KafkaSource]


@pytest.fixture
def open_static(apache_kafka: ApacheKafka) -> Iterator[OpenStatic]:
    """Opens a source under a `group_instance_id`."""
    opened: list[KafkaSource] = []

    def open_(topic: str, instance: str) -> KafkaSource:
        kafka = KafkaConfig(
            bootstrap_servers=apache_kafka.bootstrap_servers,
            request_timeout_ms=5_000,
            options={"group_instance_id": instance},
        )
        source = SourceConfig(
            topic=topic,
            group_id=f"group-{topic}",
            session_timeout_ms=20_000,
            heartbeat_interval_ms=300,
            poll_timeout_ms=200,
        )
        opened.append(KafkaSource(kafka, source))
        return opened[-1]

    yield open_
    for source in opened:
        source.close()


def _place(source: KafkaSource) -> tuple[int, frozenset[int]]:
    """The generation of the group that a member is in, and its partitions."""
    consumer = source._consumer
    assert consumer is not None
    return consumer.group_metadata().generation_id, frozenset(tp.partition for tp in consumer.assignment())


def _settle(members: list[KafkaSource], timeout_s: float = 30.0) -> None:
    """Polls until each member has one partition, in one generation."""
    give_up_at = time.monotonic() + timeout_s
    while time.monotonic() < give_up_at:
        for member in members:
            member.poll()
        places = [_place(member) for member in members]
        shared = all(len(partitions) == 1 for _, partitions in places)
        if shared and all(member.assigned for member in members) and len({place[0] for place in places}) == 1:
            return
    pytest.fail(f"the group did not settle: {[_place(member) for member in members]}")


def test_a_static_member_that_restarts_within_its_session_moves_no_partition(
    apache_kafka: ApacheKafka, open_static: OpenStatic
) -> None:
    topic = new_topic(apache_kafka, partitions=2)
    first, second = open_static(topic, "a"), open_static(topic, "b")
    _settle([first, second])
    of_first, of_second = _place(first), _place(second)
    first.close()
    again = open_static(topic, "a")
    fill(apache_kafka, topic, [b"0", b"1"], partitions=2)
    mine = take(again, 1)
    theirs = take(second, 1)
    assert [r.origin.partition for r in mine] == sorted(of_first[1])
    assert [r.origin.partition for r in theirs] == sorted(of_second[1])
    assert _place(again) == of_first
    assert _place(second) == of_second


def test_a_commit_that_gets_no_answer_is_told_and_can_be_repeated(
    apache_kafka: ApacheKafka, open_source: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_source, "_COMMIT_TIMEOUT_MS", 500)
    topic = new_topic(apache_kafka)
    fill(apache_kafka, topic, [b"0", b"1"])
    source = open_source(apache_kafka, topic, session_timeout_ms=20_000)
    assert values(take(source, 2)) == [b"0", b"1"]
    apache_kafka.freeze()
    try:
        with pytest.raises(Retryable, match=f"cannot commit offsets of group group-{topic}"):
            source.commit()
    finally:
        apache_kafka.thaw()
    monkeypatch.undo()
    source.commit()
    assert source.lost_commits == 0
    source.close()
    fill(apache_kafka, topic, [b"2"])
    assert values(take(open_source(apache_kafka, topic), 1)) == [b"2"]
