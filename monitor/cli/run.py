"""The command `latentwatch run`: the sidecar."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from monitor.cli.options import ConfigOption, DeviceOption
from monitor.cli.shutdown import closing_all, reload_on_signal, stop_on_signals
from monitor.cli.wiring import (
    load_sets,
    load_settings,
    make_delivery,
    make_telemetry,
    make_transaction,
    open_intake,
    open_recorder,
    open_schema_registry,
    skipping,
)

if TYPE_CHECKING:
    from monitor.config.sections import Config
    from monitor.engine import Evaluation
    from monitor.pipeline import Totals
    from monitor.sets.load import LoadedSet
    from monitor.telemetry.health import Health
    from monitor.telemetry.telemetry import Telemetry

log = logging.getLogger("monitor")

_LOADING_STEPS = 3
_BROKER_STEPS = 1


def run(config: ConfigOption = None, device: DeviceOption = None) -> None:
    """Run the sidecar: events in, alerts out, until SIGTERM. Changed config and feature sets are reloaded."""
    settings = load_settings(config, device)
    from monitor.telemetry.log import configure_logging

    configure_logging(settings.log)
    stop, reload_asked = stop_on_signals(), reload_on_signal()
    log.info("loading feature sets: %s", ", ".join(settings.feature_sets.paths))
    sets = load_sets(settings)

    # the heavy imports come after the first line of the log
    from monitor.assembly.artefacts import load_artefacts
    from monitor.assembly.build import build_live_engine
    from monitor.assembly.reload import Reload, ReloadThread
    from monitor.pipeline import Pipeline
    from monitor.sinks.open import close_sinks, open_sinks
    from monitor.sinks.sink import SinkContext
    from monitor.sinks.status import SinkStatus
    from monitor.telemetry.health import Health
    from monitor.telemetry.loading import Loading

    reader = sets[0].shipped.reader
    health = Health(settings.health.stalled_after_s)
    loading = Loading(health, _LOADING_STEPS + (_BROKER_STEPS if settings.uses_kafka else 0))
    telemetry = make_telemetry(settings, settings.sinks.otel, reader)
    telemetry.watch_ready(lambda: not health.ready())
    with closing_all() as opened:
        opened.append(telemetry.shutdown)
        # before the port opens, so that the health checks know of it from their first answer on
        loading.step(f"loading {settings.reader.bundle or settings.reader.model}")
        if settings.health.enabled:
            opened.append(_serve_health(settings, health, telemetry))
        artefacts = load_artefacts(settings, sets)
        loading.step("preparing the reader")
        live = build_live_engine(settings, artefacts, loading.detail)
        engine = live.engine
        telemetry.watch_cache(lambda: engine.cached_tokens)
        telemetry.config_loaded(settings, artefacts.sets)
        log.info(
            "reading with %s, layer %d, %d features in %d sets",
            reader.model,
            reader.layer,
            len(artefacts.latents),
            len(artefacts.sets),
        )
        if settings.uses_kafka:
            loading.step(f"checking the brokers {settings.kafka.bootstrap_servers}")
            _warn_of_broker_problems(settings)
        loading.step("opening the sinks")
        transaction = make_transaction(settings)
        context = SinkContext(settings.kafka, telemetry, transaction)
        sinks = open_sinks(settings.sinks, context, SinkStatus(telemetry, health))
        opened.append(lambda: close_sinks(sinks))
        intake = open_intake(settings, telemetry, stop, opened, transaction)
        schemas = open_schema_registry(settings, opened)
        delivery = make_delivery(settings, sinks, intake.dead_letters, schemas, transaction)
        delivery = skipping(delivery, settings, transaction, opened)
        recorder = open_recorder(settings, artefacts.sets, opened)

        def applied(new: Config, new_sets: Sequence[LoadedSet]) -> None:
            configure_logging(new.log)
            if recorder is not None:
                recorder.config_loaded(new, new_sets)

        reload = Reload(
            config,
            lambda: load_settings(config, device),
            settings,
            live,
            telemetry,
            applied,
        )
        pipeline = Pipeline(
            intake.source,
            engine,
            delivery,
            telemetry,
            health,
            intake.stop,
            _first_alert(),
            reload.between_batches if recorder is None else _both(reload.between_batches, recorder.tick),
            _nothing if recorder is None else recorder.add,
        )
        opened.append(ReloadThread(reload, reload_asked).close)
        loading.done()
        log.info("reading events from %s", intake.what)
        totals = pipeline.run()
        log.info("stopped: %d events read, %d alerts, %d bad records", totals.events, totals.alerts, totals.bad)


def _serve_health(settings: Config, health: Health, telemetry: Telemetry) -> Callable[[], None]:
    from monitor.telemetry.health import HealthServer

    server = HealthServer(settings.health, health, telemetry.registry)
    log.info("health checks and metrics on %s:%d", settings.health.host, server.port)
    return server.close


def _warn_of_broker_problems(settings: Config) -> None:
    """Warns only: brokers come back, and topics and permissions may be added while the sidecar waits."""
    from monitor.kafka.check import broker_problems

    for problem in broker_problems(settings):
        log.warning("%s", problem)


def _both(first: Callable[[], None], second: Callable[[], None]) -> Callable[[], None]:
    def call() -> None:
        first()
        second()

    return call


def _nothing(_: Sequence[Evaluation]) -> None:
    """Nobody asks for the evaluations."""


def _first_alert() -> Callable[[Totals], None]:
    """Logs that alerts arrive, once."""
    logged = False

    def on_batch(totals: Totals) -> None:
        nonlocal logged
        if totals.alerts and not logged:
            logged = True
            log.info("first alert delivered: %d alerts in %d events so far", totals.alerts, totals.events)

    return on_batch
