"""Sink and DeadLetters: the interfaces of every destination for alerts and for bad records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from monitor.alerts.alert import Alert
from monitor.config.sections import KafkaConfig
from monitor.config.sinks import ConfiguredSink
from monitor.errors import BadEvent
from monitor.events.event import Origin, Record

if TYPE_CHECKING:  # imports the OpenTelemetry SDK, which most sinks do without
    from monitor.kafka.transaction import TransactionalProducer
    from monitor.telemetry.telemetry import Telemetry


class Sink(Protocol):
    """Takes alerts and, on `flush`, delivers them.

    If `add` or `flush` raised Retryable, the caller waits, calls `reset` and adds the same alerts again; a destination
    may therefore see an alert twice, always under the same id. With `required: false` in its section, all of this
    happens in a thread of its own. No text of events may be in what a sink raises, because it is logged and shown.
    """

    @property
    def name(self) -> str:
        """For metrics and messages."""

    def add(self, alert: Alert) -> None:
        """Takes one alert. May buffer, must not block for long. Raises Retryable or Permanent."""

    def flush(self) -> None:
        """Returns when every alert added so far is delivered. Raises Retryable or Permanent if one is not."""

    def reset(self) -> None:
        """Forgets alerts that are not delivered yet and rebuilds connections that may be broken."""

    def close(self) -> None:
        """Frees everything. Does not flush."""


@dataclass(frozen=True)
class SinkContext:
    """What a sink may use of the process that it runs in."""

    kafka: KafkaConfig
    telemetry: Telemetry
    transaction: TransactionalProducer | None = None
    """With it, what goes to Kafka becomes visible when the source commits."""


class SinkType(ConfiguredSink, Protocol):
    """The class of a sink, as SINKS lists it by name."""

    def open(self, config: Any, context: SinkContext) -> Sink:
        """The sink of its config section, a `config_type`. Raises ConfigError if it can't work as configured."""


class DeadLetters(Protocol):
    """Takes records that are not events; flush and reset work like those of a Sink."""

    def add(self, record: Record, error: BadEvent) -> None:
        """Takes one record with the reason why it was refused."""

    def flush(self) -> None:
        """Returns when every record added so far is delivered. Raises Retryable or Permanent if one is not."""

    def reset(self) -> None:
        """Forgets records that are not delivered yet and rebuilds connections that may be broken."""

    def close(self) -> None:
        """Frees everything. Does not flush."""


class Skipped(Protocol):
    """Takes the places of records that were not read; flush and reset work like those of a Sink."""

    def add(self, origins: Iterable[Origin], reason: str, sampling: float) -> None:
        """Takes places, why they were skipped, and the share of events that was read."""

    def flush(self) -> None:
        """Returns when all added so far are delivered. Raises Retryable or Permanent if one is not."""

    def reset(self) -> None:
        """Forgets what is not delivered yet and rebuilds connections that may be broken."""

    def close(self) -> None:
        """Frees everything. Does not flush."""
