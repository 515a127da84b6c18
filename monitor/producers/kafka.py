"""KafkaTransport: published events on a Kafka topic."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.config.sections import KafkaConfig
from monitor.errors import LatentwatchError
from monitor.kafka.producer import Outgoing, Producer
from monitor.producers.transport import Message


class KafkaTransport:
    """A Transport. Returns from `send` once every in-sync replica has the messages."""

    def __init__(self, kafka: KafkaConfig, topic: str) -> None:
        self._topic = topic
        self._producer = Producer(kafka)

    def send(self, messages: Sequence[Message]) -> None:
        """See Transport."""
        try:
            for message in messages:
                self._producer.send(Outgoing(self._topic, message.value, lambda: None, headers=message.headers))
            self._producer.flush()
        except LatentwatchError:
            self._producer.reset()
            raise

    def close(self) -> None:
        """See Transport."""
        self._producer.close()
