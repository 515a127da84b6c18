"""EventTexts: the text of an alert that has none, read again from the record in Kafka that it is about."""

from __future__ import annotations

import time

from kafka import KafkaConsumer, TopicPartition, errors

from monitor.alerts.alert import Alert, AlertContent
from monitor.alerts.redactor import Redactor
from monitor.config.sections import Config
from monitor.errors import BadEvent, Permanent
from monitor.events.event import Event, Origin, Record
from monitor.events.parse import parse
from monitor.kafka.client import failure, open_client
from monitor.tokens.chat_template import segment_of

_POLL_MS = 500
_LONGEST_S = 15.0


class EventTexts:
    """Reads single records of the topic of events, without a group. Nothing of them is stored."""

    def __init__(self, settings: Config) -> None:
        self._settings = settings
        self._redactor = Redactor.of(settings.alerts.redact)

    def content(self, alert: Alert) -> AlertContent:
        """The text of the alert's segment, redacted as in alerts, and shaded by what its features tell.

        Raises Permanent if the record has gone or is not what the alert is about, and Retryable if no broker answers.
        """
        event = self.event(alert)
        text = _segment(event, alert.segment.name, alert.segment.index)
        if len(text) != alert.segment.chars:
            raise Permanent("the record does not hold the text that the alert is about")
        prompt = next((m.content for m in reversed(event.messages) if m.role == "user"), "")
        shown = [self._redactor.redacted(of) for of in (prompt, text)]
        return AlertContent(prompt=shown[0], text=shown[1], strengths=_strengths(alert))

    def event(self, alert: Alert) -> Event:
        """The whole event that the alert is about. Raises as `content` does."""
        origin, topic = alert.event.origin, self._settings.source.topic
        # an alert may be forged to show records of another topic that this process may read
        if origin.topic != topic:
            raise Permanent(f"the alert is about a record of {origin.topic}; only those of {topic} are read again")
        return self._event(self._record(origin.partition, origin.offset), alert.event.id)

    def _record(self, partition: int, offset: int) -> Record:
        topic = self._settings.source.topic
        place = TopicPartition(topic, partition)
        consumer = open_client(
            KafkaConsumer,
            self._settings.kafka,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",  # an offset that has gone is an error
            isolation_level=self._settings.source.isolation_level,
            max_poll_records=1,
            allow_auto_create_topics=False,
        )
        try:
            consumer.assign([place])
            consumer.seek(place, offset)
            give_up_at = time.monotonic() + _LONGEST_S
            while time.monotonic() < give_up_at:
                for found in consumer.poll(timeout_ms=_POLL_MS).get(place, ()):
                    if found.offset != offset:
                        raise Permanent(f"{topic}, partition {partition}: offset {offset} has gone")
                    headers = tuple((name, value or b"") for name, value in found.headers or ())
                    return Record(found.value, Origin(topic, partition, offset), found.key, headers, found.timestamp)
        except errors.OffsetOutOfRangeError:
            raise Permanent(f"{topic}, partition {partition}: offset {offset} has gone") from None
        except errors.KafkaError as e:
            raise failure(e, f"cannot read topic {topic}") from e
        finally:
            consumer.close()
        raise Permanent(f"{topic}, partition {partition}: offset {offset} did not come")

    def _event(self, record: Record, event_id: str) -> Event:
        events = self._settings.events
        try:
            found = parse(record, events.limits, events.body_format())
        except BadEvent as e:
            raise Permanent(f"the record cannot be read: {e}") from None
        for event in found:
            if event.id == event_id:
                return event
        raise Permanent("the record alone does not hold the event; it may have come in several records")


def _segment(event: Event, name: str, index: int) -> str:
    if name == "response":
        return event.response
    turns = [message.content for message in event.messages if segment_of(message.role) == name]
    return turns[index] if index < len(turns) else ""


def _strengths(alert: Alert) -> tuple[tuple[int, int, float], ...]:
    """Of the tokens in the alert; the strongest token of the feature that contributes most has strength 1."""
    evidence = [part for part in (*alert.features, alert.unnamed) if part is not None]
    most = max((part.contribution for part in evidence), default=0.0)
    found = []
    for feature in evidence:
        peak = max((token.activation for token in feature.tokens), default=0.0)
        if peak > 0 and most > 0 and feature.contribution > 0:
            share = feature.contribution / most
            found += [(token.start, token.end, share * token.activation / peak) for token in feature.tokens]
    return tuple(sorted(found))
