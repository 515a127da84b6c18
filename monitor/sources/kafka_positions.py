"""KafkaPositions: where a consumer is in each of its partitions, and where they end."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any

from kafka import KafkaConsumer, TopicPartition, errors

from monitor.events.position import Position

_log = logging.getLogger(__name__)

_ASK_EVERY_S = 5.0
_ASK_TIMEOUT_MS = 1_000


class KafkaPositions:
    """Asks the brokers for the ends of partitions by time, because a consumer that works fetches nothing meanwhile."""

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer
        self._ends: dict[TopicPartition, int] = {}
        self._ask_at_s = 0.0

    def measured(self, held: Iterable[Any]) -> Sequence[Position]:
        """Every partition that is assigned. `held` are records that were fetched and not handed out.

        Blocks for as long as the brokers take to answer, every few seconds.
        """
        self._ask(sorted(self._consumer.assignment()))
        first_held: dict[TopicPartition, int] = {}
        for record in held:
            first_held.setdefault(TopicPartition(record.topic, record.partition), record.offset)
        found = []
        for partition in sorted(self._consumer.assignment()):  # they may have moved while the brokers were asked
            place = self._consumer._subscription.assignment[partition].position
            offset = None if place is None else first_held.get(partition, place.offset)
            found.append(Position(partition.topic, partition.partition, offset, self._end(partition)))
        return found

    def _end(self, partition: TopicPartition) -> int | None:
        # what a fetch said is newer while records are fetched; the embedded broker's answer to the question leaves out
        # most of the last batch
        known = (self._consumer.highwater(partition), self._ends.get(partition))
        return max((end for end in known if end is not None), default=None)

    def _ask(self, partitions: Sequence[TopicPartition]) -> None:
        now_s = time.monotonic()
        if now_s < self._ask_at_s or not partitions:
            return
        self._ask_at_s = now_s + _ASK_EVERY_S
        try:
            self._ends = self._consumer.end_offsets(partitions, timeout_ms=_ASK_TIMEOUT_MS)
        except errors.KafkaError as e:
            self._ends = {}
            _log.debug("the ends of the partitions are not known: %s", e)
