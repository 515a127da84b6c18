"""The command `latentwatch scan`: a file of events through the same engine, without Kafka."""

from __future__ import annotations

import logging
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli.exit_code import ExitCode
from monitor.cli.options import ConfigOption, DeviceOption
from monitor.cli.shutdown import closing_all, stop_on_signals
from monitor.cli.wiring import load_sets, load_settings, make_delivery, make_telemetry
from monitor.errors import ConfigError

if TYPE_CHECKING:
    from monitor.pipeline import Totals
    from monitor.sinks.sink import DeadLetters, Sink

log = logging.getLogger("monitor")


class ScanEngine(StrEnum):
    """What scans."""

    LOCAL = "local"
    RAY = "ray"


def scan(
    file: Annotated[
        str,
        typer.Argument(
            help="JSONL or Parquet file of events; - reads JSONL from standard input. With --engine ray also a folder, "
            "or a URI such as s3://bucket/folder."
        ),
    ],
    config: ConfigOption = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            help="File to append alerts to (default: standard output). With --engine ray: folder or URI of results.",
            show_default=False,
        ),
    ] = None,
    bad: Annotated[
        Path | None,
        typer.Option(
            "--bad", help="File for events that cannot be read (default: standard error).", show_default=False
        ),
    ] = None,
    device: DeviceOption = None,
    capture_content: Annotated[
        bool, typer.Option("--capture-content", help="Put text into alerts; overrides alerts.capture_content.")
    ] = False,
    engine: Annotated[
        ScanEngine, typer.Option(help="local: this process. ray: workers of a Ray cluster, or of one on this machine.")
    ] = ScanEngine.LOCAL,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="With --engine ray: most workers (default: as many as have room).", show_default=False
        ),
    ] = None,
) -> None:
    """Scan a file of events with the sidecar's engine, without Kafka.

    Exits with code 3 if some events could not be read; all others were evaluated.
    """
    settings = load_settings(config, device, capture_content)
    if engine is ScanEngine.RAY:
        from monitor.cli.ray_scan import scan_on_ray

        scan_on_ray(settings, file, out, bad, workers)
        return
    if workers is not None:
        raise ConfigError("--workers: only --engine ray has workers; a local scan has reader.threads")
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from monitor.assembly.artefacts import load_artefacts
    from monitor.assembly.build import build_engine
    from monitor.config.sinks import OtelConfig
    from monitor.pipeline import Pipeline
    from monitor.sinks.jsonl import JsonlDeadLetters, JsonlSink
    from monitor.sinks.standard_streams import StderrDeadLetters, StdoutSink
    from monitor.sources.file import FileSource
    from monitor.telemetry.health import Health
    from monitor.telemetry.log import configure_logging

    configure_logging(settings.log)
    source = FileSource(file, settings.events.max_bytes)
    sets = load_sets(settings)
    reader = build_engine(settings, load_artefacts(settings, sets), log.info)
    console = Console(stderr=True)
    sink: Sink = JsonlSink(Path(out), fsync=False, key="--out") if out else StdoutSink()
    dead_letters: DeadLetters = JsonlDeadLetters(bad) if bad else StderrDeadLetters()
    telemetry = make_telemetry(settings, OtelConfig(), sets[0].shipped.reader)
    stop = stop_on_signals()
    with (
        Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[counts]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        ) as progress,
        closing_all() as opened,
    ):
        opened += [telemetry.shutdown, source.close, sink.close, dead_letters.close]
        task = progress.add_task(escape(file), total=None, counts="")
        pipeline = Pipeline(
            source,
            reader,
            make_delivery(settings, [sink], dead_letters),
            telemetry,
            Health(settings.health.stalled_after_s),
            stop,
            lambda totals: progress.update(task, counts=_counts(totals)),
        )
        totals = pipeline.run()
    console.print(_counts(totals), highlight=False)
    if stop.is_set():
        raise typer.Exit(ExitCode.FAILED)
    if totals.bad:
        raise typer.Exit(ExitCode.BAD_EVENTS)


def _counts(totals: Totals) -> str:
    counts = f"{totals.events} events, {totals.tokens} tokens, {totals.alerts} alerts, {totals.bad} bad"
    if totals.silenced:
        counts += f", {totals.silenced} alerts silenced"
    if totals.abstained:
        counts += f", {totals.abstained} times a set abstained because of the language"
    return f"{counts}, {totals.sampled_out} events sampled out" if totals.sampled_out else counts
