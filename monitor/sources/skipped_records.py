"""SkippedRecords: the records that were not read because of an overload."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Sequence

from monitor.config.sections import KafkaConfig, SourceConfig
from monitor.errors import ConfigError
from monitor.events.event import Record
from monitor.events.unread_range import UnreadRange
from monitor.sources.source import Source
from monitor.sources.topic_range import TopicRange
from monitor.sources.topic_sample import TopicSample
from monitor.sources.wrapped import WrappedSource

SCHEMA = "latentwatch.skipped/1"


class SkippedRecords(WrappedSource):
    """A Source of those records of `rest` that are in `ranges`: first and last offsets by partition, ascending."""

    def __init__(self, rest: Source, ranges: dict[int, list[tuple[int, int]]]) -> None:
        super().__init__(rest)
        self._ranges = ranges

    @classmethod
    def of_topic(cls, kafka: KafkaConfig, source: SourceConfig, skipped: str, wanted: TopicRange) -> SkippedRecords:
        """What the `wanted` part of the topic `skipped` names. Raises ConfigError, Retryable or Permanent."""
        found: dict[int, list[tuple[int, int]]] = {}
        sample = TopicSample(kafka, source, skipped, wanted)
        try:
            while not sample.exhausted:
                for record in sample.poll():
                    topic, partition, ranges = _named(record)
                    if topic == source.topic:
                        found.setdefault(partition, []).extend(ranges)
        finally:
            sample.close()
        merged = {partition: _merged(ranges) for partition, ranges in found.items() if ranges}
        if not merged:
            raise ConfigError(f"topic {skipped}: names no skipped records of topic {source.topic} in this time")
        spans = {partition: (ranges[0][0], ranges[-1][1]) for partition, ranges in merged.items()}
        return cls(TopicSample(kafka, source, source.topic, TopicRange(offsets=spans)), merged)

    def poll(self) -> Sequence[Record | UnreadRange]:
        """The next records."""
        return [item for item in self._rest.poll() if isinstance(item, UnreadRange) or self._holds(item)]

    def _holds(self, record: Record) -> bool:
        ranges = self._ranges.get(record.origin.partition, [])
        at = bisect_right(ranges, record.origin.offset, key=lambda span: span[0]) - 1
        return at >= 0 and record.origin.offset <= ranges[at][1]


def _named(record: Record | UnreadRange) -> tuple[str, int, list[tuple[int, int]]]:
    """Topic, partition and offset ranges. Raises ConfigError if the record is none of ours."""
    try:
        if isinstance(record, UnreadRange):
            raise TypeError
        data = json.loads(record.value or b"")
        if data["schema"] != SCHEMA:
            raise ValueError
        return str(data["topic"]), int(data["partition"]), [(int(first), int(last)) for first, last in data["ranges"]]
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise ConfigError(f"overload.topic: it holds a record that is not of schema {SCHEMA}") from None


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ascending and without overlap: a batch that was delivered twice names the same offsets twice."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(last, found[-1][1])
        else:
            found.append((first, last))
    return found
