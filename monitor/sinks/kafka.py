"""KafkaSink: alerts to a Kafka topic, keyed by event id."""

from __future__ import annotations

from functools import partial
from typing import Literal

from monitor.alerts.alert import SCHEMA, Alert
from monitor.config.sections import KafkaConfig, KafkaSinkConfig
from monitor.kafka.producer import Outgoing, Producer

_Reduced = Literal["content", "tokens", "features"]


class KafkaSink:
    """A Sink. The record's key is the event id, its value the alert as JSON.

    Headers: latentwatch-schema, -alert-id, -severity, -category, and traceparent where the event has one. Where the
    broker finds an alert too large, it loses its content, then its tokens, then its features; the last part
    lost stands in the header latentwatch-reduced.
    """

    name = "kafka"

    def __init__(self, kafka: KafkaConfig, sink: KafkaSinkConfig) -> None:
        self._topic = sink.topic
        self._producer = Producer(kafka, sink.compression_type, sink.delivery_timeout_ms)

    def add(self, alert: Alert) -> None:
        """Takes one alert; waits for delivery when a thousand are in flight. Raises Retryable or Permanent."""
        self._producer.send(self._outgoing(alert))

    def flush(self) -> None:
        """Returns when all in-sync replicas have every alert added so far. Raises Retryable or Permanent."""
        self._producer.flush()

    def reset(self) -> None:
        """Forgets alerts in flight and connects anew."""
        self._producer.reset()

    def close(self) -> None:
        """Frees everything. Does not flush."""
        self._producer.close()

    def _outgoing(self, alert: Alert, reduced: _Reduced | None = None) -> Outgoing:
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
        if any(feature.tokens for feature in alert.features) or (alert.probe is not None and alert.probe.tokens):
            features = tuple(feature.model_copy(update={"tokens": ()}) for feature in alert.features)
            probe = None if alert.probe is None else alert.probe.model_copy(update={"tokens": ()})
            return self._outgoing(alert.model_copy(update={"features": features, "probe": probe}), "tokens")
        if alert.features:
            return self._outgoing(alert.model_copy(update={"features": ()}), "features")
        return None
