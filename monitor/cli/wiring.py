"""Wiring: what `run` and `scan` build from a config and pass on."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the command line starts without these; they take half a second to import
    from detectors.feature_set import ReaderRef
    from monitor.config.sections import Config
    from monitor.config.sinks import OtelConfig
    from monitor.events.envelopes.confluent import Schemas
    from monitor.pipeline import Delivery
    from monitor.sets.load import LoadedSet
    from monitor.sinks.sink import DeadLetters, Sink
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
    from monitor.sets.load import load_feature_sets

    wanted = settings.feature_sets
    return load_feature_sets(wanted.paths, wanted.only, wanted.overrides)


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
    stream = Stream(settings.source.topic, settings.source.group_id, settings.kafka.client_id)
    return Telemetry(otel, monitor.__version__, resource, stream)


def make_delivery(
    settings: Config, sinks: Sequence[Sink], dead_letters: DeadLetters, schemas: Schemas | None = None
) -> Delivery:
    """How the pipeline parses events and where it sends the results."""
    from monitor.pipeline import Delivery

    return Delivery(sinks, dead_letters, settings.events.limits, settings.events.body_format(), schemas)


def open_schema_registry(settings: Config, opened: list[Callable[[], None]]) -> Schemas | None:
    """The schema registry that the config names; how to close it is appended to `opened`."""
    if settings.events.schema_registry_url is None:
        return None
    from monitor.kafka.schema_registry import SchemaRegistry

    registry = SchemaRegistry(settings.events)
    opened.append(registry.close)
    return registry
