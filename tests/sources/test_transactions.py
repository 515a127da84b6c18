"""Records of transactions: only those that were committed, and offsets that reach the end."""

from __future__ import annotations

import pytest
from kafka import KafkaProducer

from tests.brokers import ApacheKafka
from tests.sources.polling import Open, lag, take, take_all, values
from tests.sources.test_unread import committed
from tests.topics import fill, new_topic

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(90)]


@pytest.fixture
def topic(apache_kafka: ApacheKafka) -> str:
    """A topic with a committed, an aborted and again a committed transaction of two records each."""
    name = new_topic(apache_kafka)
    producer = KafkaProducer(bootstrap_servers=apache_kafka.bootstrap_servers, transactional_id=name)
    producer.init_transactions()
    for word, end in ((b"a", producer.commit_transaction), (b"b", producer.abort_transaction)):
        producer.begin_transaction()
        for n in (b"0", b"1"):
            producer.send(name, value=word + n)
        producer.flush(10)
        end()
    producer.begin_transaction()
    producer.send(name, value=b"c0")
    producer.commit_transaction()
    producer.close(5)
    return name


def test_aborted_records_are_left_out_and_the_offset_reaches_the_end(
    apache_kafka: ApacheKafka, open_source: Open, topic: str
) -> None:
    source = open_source(apache_kafka, topic, max_poll_records=1)
    assert values(take(source, 3)) == [b"a0", b"a1", b"c0"]
    source.commit()
    assert take_all(source) == []
    source.commit()
    assert lag(source) == 0
    source.close()
    # 2 records and a marker for each of two transactions, 1 record and a marker for the last
    assert committed(apache_kafka, topic) == 8


def test_uncommitted_records_are_read_when_asked_for(apache_kafka: ApacheKafka, open_source: Open, topic: str) -> None:
    source = open_source(apache_kafka, topic, isolation_level="read_uncommitted")
    assert values(take_all(source)) == [b"a0", b"a1", b"b0", b"b1", b"c0"]


def test_what_follows_a_commit_is_read_next(apache_kafka: ApacheKafka, open_source: Open, topic: str) -> None:
    first = open_source(apache_kafka, topic)
    take_all(first)
    first.commit()
    first.close()
    fill(apache_kafka, topic, [b"later"])
    assert values(take(open_source(apache_kafka, topic), 1)) == [b"later"]
