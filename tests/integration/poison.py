"""A topic of good events, with a share of records of every kind that cannot be judged."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from monitor.events.event import EventLimits
from tests.brokers import ApacheKafka
from tests.integration.bad_records import small_bad_records
from tests.integration.short_events import short_event
from tests.log_segment import LogSegment
from tests.topics import new_topic

LIMITS = EventLimits(max_bytes=8_192, max_chars=4_000)
"""Small, so that a record over them does not outweigh all others."""
DEAD, UNREAD, JUDGED, ABORTED = "dead-lettered", "unread", "judged", "aborted"
_BATCH = 200


class RawName(str):
    """A header name that the producer sends as these bytes."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return b"n\xff\xfe"


@dataclass(frozen=True)
class Poison:
    """A kind of record. `damage` changes the batch of the one record where it lies on the broker's disk."""

    name: str
    fate: str
    value: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    damage: Callable[[LogSegment, int], None] | None = None


def _wrong_checksum(segment: LogSegment, batch: int) -> None:
    segment.overwrite(batch, segment.RECORDS + 3, b"!", keep_crc=True)


def _unknown_codec(segment: LogSegment, batch: int) -> None:
    segment.overwrite(batch, segment.ATTRIBUTES, b"\x00\x05")


def _torn_gzip(segment: LogSegment, batch: int) -> None:
    segment.overwrite(batch, segment.ATTRIBUTES, b"\x00\x01")


def _wrong_record_length(segment: LogSegment, batch: int) -> None:
    segment.overwrite(batch, segment.RECORDS, b"\x7f")


def kinds() -> tuple[Poison, ...]:
    """Every kind; those of values are small, so that the bytes of a topic are about the same with them."""
    deep = b"[" * 4_000
    values = {bad.name: bad.value for bad in small_bad_records()} | {"deep nesting": deep}
    good = json.dumps({"id": "odd", "response": "fine"}).encode()
    return (
        *(Poison(name, DEAD, value) for name, value in values.items()),
        Poison("more bytes than events.max_bytes", DEAD, json.dumps({"response": "z " * 5_000}).encode()),
        Poison("more characters than events.max_chars", DEAD, json.dumps({"response": "z " * 3_000}).encode()),
        Poison("a header name that is not UTF-8", JUDGED, good, ((RawName("n"), b"\xff"),)),
        Poison("a header value that is not UTF-8", JUDGED, good, (("traceparent", b"\xff\xfe"),)),
        Poison("a wrong checksum", UNREAD, good, damage=_wrong_checksum),
        Poison("an unknown codec", UNREAD, good, damage=_unknown_codec),
        Poison("a torn gzip", UNREAD, good, damage=_torn_gzip),
        Poison("a record with a wrong length", UNREAD, good, damage=_wrong_record_length),
        Poison("an aborted transaction", ABORTED, good),
    )


@dataclass
class Written:
    """A topic, and what became of the records in it if all is well. All of it is in one partition."""

    topic: str
    offsets: dict[str, set[int]] = field(default_factory=lambda: {f: set() for f in (DEAD, UNREAD, JUDGED, ABORTED)})
    kinds: dict[int, str] = field(default_factory=dict)
    """The kind of each poisoned record, by its offset."""
    end: int = 0

    @property
    def records(self) -> int:
        """Those that a consumer has to account for: markers and what was aborted are not."""
        return sum(len(self.offsets[fate]) for fate in (DEAD, UNREAD, JUDGED))


def write(broker: ApacheKafka, count: int, every: int, poison: bool, codec: str | None = None) -> Written:
    """A topic of `count` events, each `every`-th of them poisoned or, for comparison, a good one like the others.

    The batches are the same either way: where poison is or could be, a batch has one record.
    """
    written = Written(new_topic(broker, prefix="poison"))
    settings: Mapping[str, Any] = {"bootstrap_servers": broker.bootstrap_servers, "linger_ms": 60_000}
    plain = KafkaProducer(**settings, batch_size=1 << 20, **({"compression_type": codec} if codec else {}))
    single = KafkaProducer(**settings)
    transactional = KafkaProducer(**settings, transactional_id=written.topic)
    transactional.init_transactions()
    turn, damaged = cycle(kinds()), list[tuple[int, Callable[[LogSegment, int], None]]]()
    waiting = 0
    for n in range(count):
        event = short_event("poison", n)
        if n % every != every - 1:
            future = plain.send(written.topic, value=event)
            future.add_callback(lambda sent: written.offsets[JUDGED].add(sent.offset))
            waiting += 1
            if waiting == _BATCH:
                plain.flush(20)
                waiting = 0
            continue
        plain.flush(20)
        waiting = 0
        kind = next(turn) if poison else Poison("good", JUDGED, event)
        key = b"k" if kind.value is None else None
        if kind.fate == ABORTED:
            transactional.begin_transaction()
            aborted = transactional.send(written.topic, value=kind.value)
            transactional.flush(20)
            transactional.abort_transaction()
            offset = aborted.get(20).offset
        else:
            sent = single.send(written.topic, value=kind.value, key=key, headers=list(kind.headers))
            single.flush(20)
            offset = sent.get(20).offset
        written.offsets[kind.fate].add(offset)
        if poison:
            written.kinds[offset] = kind.name
        if kind.damage is not None:
            damaged.append((offset, kind.damage))
    for producer in (plain, single, transactional):
        producer.flush(20)
        producer.close(10)
    segment = LogSegment(broker, written.topic)
    by_offset = {offset: i for i, offset in enumerate(segment.base_offsets())}
    for offset, damage in damaged:
        damage(segment, by_offset[offset])
    written.end = _end(broker, written.topic)
    return written


def _end(broker: ApacheKafka, topic: str) -> int:
    consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap_servers)
    try:
        partition = TopicPartition(topic, 0)
        found: int = consumer.end_offsets([partition])[partition]
        return found
    finally:
        consumer.close()
