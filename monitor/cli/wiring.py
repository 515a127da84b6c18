"""Wiring: what `run` and `scan` build from a config and pass on."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from monitor.cli.shutdown import stop_after_draining
from monitor.errors import ConfigError

if TYPE_CHECKING:  # the command line starts without these; they take half a second to import
    from detectors.feature_set import ReaderRef
    from monitor.config.sections import Config
    from monitor.config.sinks import OtelConfig
    from monitor.drift.recorder import Recorder
    from monitor.events.envelopes.confluent import Schemas
    from monitor.kafka.transaction import TransactionalProducer
    from monitor.pipeline import Delivery
    from monitor.producers.publisher import Publisher
    from monitor.sets.load import LoadedSet
    from monitor.sinks.sink import DeadLetters, Sink, Skipped
    from monitor.sources.source import Source
    from monitor.telemetry.telemetry import Telemetry


def load_settings(path: Path | None, device: str | None = None, capture_content: bool = False) -> Config:
    """The config in `path`, overridden by command-line options."""
    from monitor.config.load import load_config

    settings = load_config(path, os.environ)
    if device is not None:
        engine = settings.reader.engine if device == "cpu" else "torch"
        settings = settings.changed(reader=settings.reader.changed(device=device, engine=engine))
    if capture_content:
        settings = settings.changed(alerts=settings.alerts.changed(capture_content=True))
    return settings


def load_sets(settings: Config) -> list[LoadedSet]:
    """The feature sets that the config enables."""
    from monitor.assembly.sets import load_sets as load

    return load(settings)


def make_telemetry(settings: Config, otel: OtelConfig, reader: ReaderRef) -> Telemetry:
    """Telemetry for a process that reads with `reader`."""
    import monitor
    from monitor.telemetry import names
    from monitor.telemetry.telemetry import Stream, Telemetry

    resource: dict[str, str | int] = {
        names.READER_MODEL: reader.model,
        names.READER_MODEL_SHA256: reader.model_sha256,
        names.READER_LAYER: reader.layer,
        names.READER_HOOK: reader.hook,
        names.SAE_SHA256: reader.sae.sha256,
    }
    source, client = settings.source, settings.kafka.client_id
    topic = source.topic if source.kind == "kafka" else "http"
    server = settings.kafka.bootstrap_servers.partition(",")[0].strip() if source.kind == "kafka" else ""
    stream = Stream(topic, source.group_id, client, source.kind, server)
    return Telemetry(otel, monitor.__version__, resource, stream)


def make_delivery(
    settings: Config,
    sinks: Sequence[Sink],
    dead_letters: DeadLetters,
    schemas: Schemas | None = None,
    transaction: TransactionalProducer | None = None,
) -> Delivery:
    """How the pipeline parses events and where it sends the results."""
    from monitor.pipeline import Delivery

    together: list[Sink | DeadLetters | Skipped] = []
    if transaction is not None:
        together = [dead_letters, *(sink for sink in sinks if sink.name == "kafka")]
    return Delivery(sinks, dead_letters, settings.events.limits, settings.events.body_format(), schemas, together)


def skipping(
    delivery: Delivery, settings: Config, transaction: TransactionalProducer | None, opened: list[Callable[[], None]]
) -> Delivery:
    """The same with what the config says about overloads; how to close it is appended to `opened`."""
    if settings.overload.sampling is None:
        return delivery
    from monitor.alerts.event_attributes import value_of
    from monitor.sinks.skipped import KafkaSkipped
    from monitor.sources.overload import Overload

    overload = Overload(settings.overload, lambda event: value_of(event, settings.feature_sets.tenant_from))
    skipped = KafkaSkipped(settings.kafka, settings.overload.topic, transaction)
    opened.append(skipped.close)
    together = delivery.together if transaction is None else (*delivery.together, skipped)
    return replace(delivery, together=together, overload=overload, skipped=skipped)


def make_transaction(settings: Config) -> TransactionalProducer | None:
    """What delivers and commits together, if the config asks for it. Connects later."""
    if not settings.delivery.exactly_once:
        return None
    from monitor.kafka.transaction import TransactionalProducer
    from monitor.sinks.kafka import KafkaSinkConfig

    sink = settings.sinks.enabled()["kafka"]
    name = settings.delivery.transactional_id or f"{settings.source.group_id}-{socket.gethostname()}"
    if not isinstance(sink, KafkaSinkConfig):
        raise ConfigError("delivery.guarantee: exactly_once needs the built-in sink kafka")
    return TransactionalProducer(settings.kafka, name, sink.compression_type, sink.delivery_timeout_ms)


def open_recorder(settings: Config, sets: Sequence[LoadedSet], opened: list[Callable[[], None]]) -> Recorder | None:
    """What counts for `latentwatch drift`, if the config asks for it. What must be closed goes to `opened`."""
    if not settings.drift.enabled:
        return None
    from monitor.drift.recorder import Recorder
    from monitor.drift.writer import SnapshotWriter, open_destinations

    writer = SnapshotWriter(open_destinations(settings))
    opened.append(writer.close)
    recorder = Recorder(settings, sets, writer.put)
    opened.append(recorder.close)
    return recorder


def open_schema_registry(settings: Config, opened: list[Callable[[], None]]) -> Schemas | None:
    """The schema registry that the config names; how to close it is appended to `opened`."""
    if settings.events.schema_registry_url is None:
        return None
    from monitor.kafka.schema_registry import SchemaRegistry

    registry = SchemaRegistry(settings.events)
    opened.append(registry.close)
    return registry


@dataclass(frozen=True)
class Intake:
    """Where a sidecar's events come from, and what belongs to it."""

    source: Source
    dead_letters: DeadLetters
    stop: threading.Event
    """Ends the pipeline."""
    what: str
    """Where the events come from, for the log."""


def open_intake(
    settings: Config,
    telemetry: Telemetry,
    stop: threading.Event,
    opened: list[Callable[[], None]],
    transaction: TransactionalProducer | None = None,
) -> Intake:
    """The source of the config. `stop` is set when the process should end; what must be closed goes to `opened`."""
    if settings.source.kind == "http":
        return _open_http(settings, telemetry, stop, opened)
    from monitor.sinks.dead_letter import KafkaDeadLetters
    from monitor.sources.kafka import KafkaSource

    dead_letters = KafkaDeadLetters(settings.kafka, settings.source.dead_letter_topic, transaction)
    opened.append(dead_letters.close)
    source = KafkaSource(settings.kafka, settings.source, transaction)
    opened.append(source.close)
    return Intake(source, dead_letters, stop, f"topic {settings.source.topic} as group {settings.source.group_id}")


def _open_http(
    settings: Config, telemetry: Telemetry, stop: threading.Event, opened: list[Callable[[], None]]
) -> Intake:
    from monitor.events.parse import parse
    from monitor.sinks.jsonl import JsonlDeadLetters
    from monitor.sinks.told_dead_letters import ToldDeadLetters
    from monitor.sources.http import HttpSource

    http, events = settings.http, settings.events
    bad_events = JsonlDeadLetters(http.bad_events_path, "http.bad_events_path") if http.bad_events_path else None
    if bad_events is not None:
        opened.append(bad_events.close)
    check = partial(parse, limits=events.limits, wire_format=events.body_format())
    source = HttpSource(http, settings.source, events.max_bytes, check, telemetry)
    opened.append(source.close)
    telemetry.watch_intake(source.held)
    where = http.address if http.socket or http.port else f"{http.host}:{source.port}"
    halt = stop_after_draining(stop, source.drain, http.drain_s)
    return Intake(source, ToldDeadLetters(source.refuse, bad_events), halt, f"POST /v1/events on {where}")


def make_publisher(settings: Config) -> tuple[Publisher, str]:
    """A publisher to where the sidecar of this config reads events, and the name of that place for the log."""
    from monitor.producers.kafka import KafkaTransport
    from monitor.producers.publisher import Publisher

    if settings.source.kind == "kafka":
        topic = settings.source.topic
        return Publisher(KafkaTransport(settings.kafka, topic)), f"topic {topic}"
    from monitor.producers.http import HttpTransport

    http = settings.http
    url = "http://localhost/v1/events" if http.socket is not None else f"http://{http.address}/v1/events"
    return Publisher(HttpTransport(url, http.socket, http.token_file)), f"{http.address}/v1/events"
