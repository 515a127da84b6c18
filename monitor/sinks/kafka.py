"""KafkaSink: alerts to a Kafka topic, keyed by event id."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from monitor.alerts.alert import SCHEMA, Alert
from monitor.config.section import Positive
from monitor.config.sections import KafkaConfig
from monitor.config.sinks import SinkConfig

if TYPE_CHECKING:  # the config is loaded without the Kafka client
    from monitor.kafka.producer import Outgoing
    from monitor.kafka.transaction import TransactionalProducer
    from monitor.sinks.sink import SinkContext

_Reduced = Literal["content", "tokens", "features"]


class KafkaSinkConfig(SinkConfig):
    """Alerts to a Kafka topic, keyed by event id."""

    enabled: bool = True
    """Whether alerts go to Kafka."""
    topic: Annotated[str, Field(min_length=1)] = "llm.alerts"
    """Topic of alerts."""
    compression_type: Literal["none", "gzip", "lz4", "zstd"] = "lz4"
    """Compression of produced batches."""
    delivery_timeout_ms: Positive = 30_000
    """Longest wait for the brokers to accept an alert before the whole batch is sent again."""

    def kafka_topics(self) -> dict[str, str]:
        return {"topic": self.topic}


class KafkaSink:
    """A Sink. The record's key is the event id, its value the alert as JSON.

    Headers: latentwatch-schema, -alert-id, -severity, -category, and traceparent if the event has one. If the
    broker finds an alert too large, it is sent without its content, then without tokens, then without features; the
    header latentwatch-reduced names the last part removed.
    """

    name = "kafka"
    config_type: ClassVar[type[KafkaSinkConfig]] = KafkaSinkConfig

    def __init__(
        self, kafka: KafkaConfig, sink: KafkaSinkConfig, transaction: TransactionalProducer | None = None
    ) -> None:
        """With a `transaction`, alerts become visible when it is committed."""
        from monitor.kafka.producer import Producer

        self._topic = sink.topic
        self._producer = transaction or Producer(kafka, sink.compression_type, sink.delivery_timeout_ms)

    @classmethod
    def open(cls, config: KafkaSinkConfig, context: SinkContext) -> KafkaSink:
        """The sink of a config. Raises ConfigError if a file with certificates or secrets can't be read."""
        return cls(context.kafka, config, context.transaction)

    def add(self, alert: Alert) -> None:
        """Takes one alert; waits for delivery when a thousand are in flight. Raises Retryable or Permanent."""
        self._producer.send(self._outgoing(alert))

    def flush(self) -> None:
        """Returns when all in-sync replicas have every alert added so far. Raises Retryable or Permanent."""
        self._producer.flush()

    def reset(self) -> None:
        """Forgets alerts in flight and connects again."""
        self._producer.reset()

    def close(self) -> None:
        """Frees everything. Does not flush."""
        self._producer.close()

    def _outgoing(self, alert: Alert, reduced: _Reduced | None = None) -> Outgoing:
        from monitor.kafka.producer import Outgoing

        headers = [
            ("latentwatch-schema", SCHEMA),
            ("latentwatch-alert-id", alert.id),
            ("latentwatch-severity", str(alert.severity)),
            ("latentwatch-category", alert.set.category),
        ]
        if alert.traceparent is not None:
            headers.append(("traceparent", alert.traceparent))
        if reduced is not None:
            headers.append(("latentwatch-reduced", reduced))
        return Outgoing(
            topic=self._topic,
            key=alert.event.id.encode(),
            value=alert.to_json().encode(),
            headers=tuple((name, value.encode()) for name, value in headers),
            smaller=partial(self._smaller, alert),
        )

    def _smaller(self, alert: Alert) -> Outgoing | None:
        if alert.content is not None:
            return self._outgoing(alert.model_copy(update={"content": None}), "content")
        parts = [part for part in (*alert.features, alert.unnamed, alert.probe) if part is not None]
        if any(part.tokens for part in parts):
            bare = {"tokens": ()}
            changes = {
                "features": tuple(feature.model_copy(update=bare) for feature in alert.features),
                "unnamed": None if alert.unnamed is None else alert.unnamed.model_copy(update=bare),
                "probe": None if alert.probe is None else alert.probe.model_copy(update=bare),
            }
            return self._outgoing(alert.model_copy(update=changes), "tokens")
        if alert.features:
            return self._outgoing(alert.model_copy(update={"features": ()}), "features")
        return None
