"""Positions: what a source knows of its partitions while it works, and while brokers are down."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import pytest

from monitor.events.position import Position
from monitor.sources.kafka import KafkaSource
from tests.brokers import AnyBroker
from tests.sources.polling import Open, lag, take
from tests.topics import fill, new_topic

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]


@pytest.fixture(autouse=True)
def _asks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.sources.kafka_positions._ASK_EVERY_S", 0.1)


def positions(source: KafkaSource, until: Callable[[Sequence[Position]], bool]) -> Sequence[Position]:
    """What the source says while it only keeps alive, as soon as that is so."""
    give_up_at, found = time.monotonic() + 20, source.positions()
    while not until(found or ()):
        assert time.monotonic() < give_up_at, found
        time.sleep(0.1)
        source.keep_alive()
        found = source.positions()
    return found or ()


def test_lag_grows_in_each_partition_while_a_batch_is_in_work(broker: AnyBroker, open_source: Open) -> None:
    topic = new_topic(broker, partitions=2)
    fill(broker, topic, [b"%d" % n for n in range(4)], partitions=2)
    source = open_source(broker, topic)
    assert source.positions() is None
    assert len(take(source, 4)) == 4
    assert [(p.topic, p.partition, p.lag) for p in source.positions() or ()] == [(topic, 0, 0), (topic, 1, 0)]
    fill(broker, topic, [b"%d" % n for n in range(138)], partitions=2)
    fill(broker, topic, [b"last", b"last"], partitions=2)  # the embedded broker's answer is about the last batch
    found = positions(source, lambda seen: sum(place.lag or 0 for place in seen) == 140)
    assert [(place.offset, place.end) for place in found] == [(2, 72), (2, 72)]
    assert lag(source) == 140
    take(source, 140)
    assert [(place.offset, place.lag) for place in source.positions() or ()] == [(72, 0), (72, 0)]


def test_a_source_that_is_closed_knows_nothing(broker: AnyBroker, open_source: Open) -> None:
    topic = new_topic(broker)
    fill(broker, topic, [b"0"])
    source = open_source(broker, topic)
    take(source, 1)
    assert source.positions() is not None
    source.close()
    assert source.positions() is None
    assert lag(source) is None
