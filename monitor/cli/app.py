"""The latentwatch command."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

import monitor
from monitor.alerts.alert import alert_schema
from monitor.assembly.artefacts import load_artefacts
from monitor.assembly.build import build_engine
from monitor.assembly.bundle_cache import compile_artefacts
from monitor.cli.check import check as run_checks
from monitor.cli.command_group import CommandGroup
from monitor.cli.figures_table import false_positive_table, figures_table
from monitor.cli.set_tables import overview, show
from monitor.compiler.calibration_events import load_calibration_events
from monitor.config.sections import Config, OtelConfig, config_schema, load_config
from monitor.errors import ConfigError, LatentwatchError
from monitor.events.event import EventLimits
from monitor.kafka.check import broker_problems
from monitor.pipeline import Delivery, Pipeline, Totals
from monitor.sets.load import LoadedSet, load_feature_sets
from monitor.sinks.sink import DeadLetters, Sink
from monitor.telemetry.health import Health, HealthServer
from monitor.telemetry.log import configure_logging
from monitor.telemetry.telemetry import Stream, Telemetry

log = logging.getLogger("monitor")

app = typer.Typer(
    name="latentwatch",
    cls=CommandGroup,
    help="Flags risky feature activations inside a language model, from prompt/response events.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
sets_app = typer.Typer(help="Look at feature sets.", no_args_is_help=True)
config_app = typer.Typer(help="Look at configuration.", no_args_is_help=True)
alerts_app = typer.Typer(help="Look at the alert format.", no_args_is_help=True)
app.add_typer(sets_app, name="sets")
app.add_typer(config_app, name="config")
app.add_typer(alerts_app, name="alerts")

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="YAML config file; defaults where left out.", show_default=False),
]

DeviceOption = Annotated[str | None, typer.Option(help="Torch device; overrides reader.device.")]


class PrecisionOption(StrEnum):
    """What --precision takes."""

    auto = "auto"
    fp32 = "fp32"
    int8 = "int8"


# Exit codes, the same for every command; docs/cli.md lists them
_FAILED, _BAD_CONFIG, _BAD_EVENTS = 1, 2, 3


def main() -> None:
    """Runs the command; errors raised on purpose end it with a message and a code, all others with a traceback."""
    try:
        app()
    except ConfigError as e:
        for problem in e.problems:
            print(f"error: {problem}", file=sys.stderr)  # noqa: T201
        sys.exit(_BAD_CONFIG)
    except LatentwatchError as e:
        print(f"error: {e}", file=sys.stderr)  # noqa: T201
        sys.exit(_FAILED)


@app.command()
def run(config: ConfigOption = None, device: DeviceOption = None) -> None:
    """Run the sidecar: Kafka in, alerts out, until SIGTERM."""
    settings = _with_options(load_config(config, os.environ), device, False)
    configure_logging(settings.log)
    stop = _stop_on_signals()
    health = Health(settings.health.stalled_after_s)
    telemetry = _telemetry(settings, settings.sinks.otel)
    with _closing_all() as opened:
        opened.append(telemetry.shutdown)
        if settings.health.enabled:
            server = HealthServer(settings.health, health, telemetry.registry)
            opened.append(server.close)
            log.info("health and metrics on %s:%d", settings.health.host, server.port)
        health.set_ready("model", False, "loading")
        artefacts = load_artefacts(settings)
        engine = build_engine(settings, artefacts, log.info)
        telemetry.watch_cache(lambda: engine.cached_tokens)
        health.set_ready("model", True)
        telemetry.config_loaded(settings.sha256())
        log.info(
            "reading with %s, layer %d, %d features of %d sets",
            artefacts.sets[0].shipped.reader.model,
            artefacts.sets[0].shipped.reader.layer,
            len(artefacts.latents),
            len(artefacts.sets),
        )
        from monitor.sinks.dead_letter import KafkaDeadLetters
        from monitor.sources.kafka import KafkaSource

        for problem in broker_problems(settings):
            log.warning("%s", problem)  # not fatal: brokers come back, topics and rights are added
        sinks = _sinks(settings, telemetry)
        opened += [sink.close for sink in sinks]
        dead_letters = KafkaDeadLetters(settings.kafka, settings.source.dead_letter_topic)
        opened.append(dead_letters.close)
        source = KafkaSource(settings.kafka, settings.source)
        opened.append(source.close)
        pipeline = Pipeline(source, engine, _delivery(settings, sinks, dead_letters), telemetry, health, stop)
        totals = pipeline.run()
        log.info("stopped: %d events read, %d alerts, %d bad events", totals.events, totals.alerts, totals.bad)


@app.command()
def scan(
    file: Annotated[str, typer.Argument(help="JSONL or Parquet file of events; - reads JSONL from standard input.")],
    config: ConfigOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File for alerts; standard output where left out.")
    ] = None,
    bad: Annotated[
        Path | None, typer.Option("--bad", help="File for events that cannot be read, with reasons.")
    ] = None,
    device: DeviceOption = None,
    capture_content: Annotated[
        bool, typer.Option("--capture-content", help="Put text into alerts; overrides alerts.capture_content.")
    ] = False,
) -> None:
    """Scan a file of events: the same engine as the sidecar, without Kafka.

    Ends with code 3 where some events could not be read; all others were judged.
    """
    settings = _with_options(load_config(config, os.environ), device, capture_content)
    configure_logging(settings.log)
    from monitor.sinks.jsonl import JsonlDeadLetters, JsonlSink
    from monitor.sinks.standard_streams import StderrDeadLetters, StdoutSink
    from monitor.sources.file import FileSource

    source = FileSource(file, settings.events.max_bytes)
    engine = build_engine(settings, load_artefacts(settings), log.info)
    console = Console(stderr=True)
    sink: Sink = JsonlSink(out, fsync=False, key="--out") if out else StdoutSink()
    dead_letters: DeadLetters = JsonlDeadLetters(bad) if bad else StderrDeadLetters()
    telemetry = _telemetry(settings, OtelConfig())
    stop = _stop_on_signals()
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
        _closing_all() as opened,
    ):
        opened += [telemetry.shutdown, source.close, sink.close, dead_letters.close]
        task = progress.add_task(escape(file), total=None, counts="")
        pipeline = Pipeline(
            source,
            engine,
            _delivery(settings, [sink], dead_letters),
            telemetry,
            Health(settings.health.stalled_after_s),
            stop,
            lambda totals: progress.update(task, counts=_counts(totals)),
        )
        totals = pipeline.run()
    console.print(_counts(totals), highlight=False)
    if stop.is_set():
        raise typer.Exit(_FAILED)
    if totals.bad:
        raise typer.Exit(_BAD_EVENTS)


@app.command("compile")
def compile_(
    config: ConfigOption = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the bundle; must not exist.")] = Path("bundle"),
    precision: Annotated[
        PrecisionOption, typer.Option(help="auto measures on this machine and takes the fastest that decides as fp32.")
    ] = PrecisionOption.auto,
    calibration: Annotated[
        list[Path] | None,
        typer.Option(help="JSONL events to compare precisions on; labelled texts of ours where left out."),
    ] = None,
    events: Annotated[int, typer.Option(min=1, help="Most events to compare precisions on.")] = 1_000,
) -> None:
    """Compile model, SAE and feature sets into a bundle that runs without torch and transformers."""
    settings = load_config(config, os.environ)
    configure_logging(settings.log)
    traffic = load_calibration_events(calibration or (), events)
    artefacts = load_artefacts(settings).uncompiled("compiling")
    bundle = compile_artefacts(settings, artefacts, out, precision.value, traffic, log.info)
    console = Console()
    table = Table("precision", "tokens/s", "read again", "agreement", "residual FVU", "largest AUROC loss", "taken")
    for c in bundle.manifest.precision.candidates:
        table.add_row(
            c.precision,
            f"{c.tokens_per_s:,.0f}",
            f"{c.confirmed:.1%}",
            f"{c.agreement:.2%}",
            f"{c.residual_fvu:.4f}",
            f"{max(c.auroc_loss.values(), default=0.0):+.4f}",
            "yes" if c.precision == bundle.manifest.precision.chosen else "",
        )
    if table.row_count:
        console.print(table)
    size = sum(path.stat().st_size for path in bundle.folder.iterdir()) / 1e6
    console.print(f"{escape(str(bundle.folder))}: {bundle.manifest.precision.chosen}, {size:,.0f} MB", highlight=False)


@app.command()
def check(
    config: ConfigOption = None,
    timeout: Annotated[float, typer.Option(help="Longest wait for the brokers, in seconds.", min=1)] = 10.0,
) -> None:
    """Check config, feature sets, model, SAE and brokers; print every problem."""
    results = run_checks(config, os.environ, timeout)
    console = Console()
    for result in results:
        if result.problems:
            console.print(f"[red]✗[/] {escape(result.part)}", highlight=False)
            for problem in result.problems:
                console.print(f"    {escape(problem)}", highlight=False, soft_wrap=True)
        else:
            console.print(
                f"[green]✓[/] {escape(result.part)}: {escape(result.detail)}", highlight=False, soft_wrap=True
            )
    if any(result.problems for result in results):
        raise typer.Exit(_BAD_CONFIG)


@app.command()
def bench(
    config: ConfigOption = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Less of everything: minutes instead of a quarter of an hour.")
    ] = False,
    as_json: Annotated[Path | None, typer.Option("--json", help="File for the figures as JSON.")] = None,
    as_markdown: Annotated[Path | None, typer.Option("--markdown", help="File for the tables as Markdown.")] = None,
    plot: Annotated[Path | None, typer.Option(help="PNG, or folder for one, of how cost grows.")] = None,
    readers: Annotated[
        str | None, typer.Option(help="Readers to measure, with commas between them; all where left out.")
    ] = None,
    workloads: Annotated[str | None, typer.Option(help="Of short, long and multi_turn; all where left out.")] = None,
    skip_pipeline: Annotated[bool, typer.Option("--skip-pipeline", help="Leave the way through Kafka out.")] = False,
    skip_scaling: Annotated[bool, typer.Option("--skip-scaling", help="Leave out how cost grows.")] = False,
) -> None:
    """Measure what a deployment costs on this machine, beside what one would write without latentwatch."""
    from monitor.bench.outputs import Outputs
    from monitor.bench.run import READERS, Options, names, run_bench
    from monitor.bench.sizes import WORKLOADS
    from monitor.bench.tables import print_report

    settings = load_config(config, os.environ)
    outputs = Outputs(as_json, as_markdown, plot)
    outputs.check()
    options = Options(quick, names(readers, READERS), names(workloads, WORKLOADS), not skip_pipeline, not skip_scaling)
    with Console(stderr=True).status("") as status:
        report = run_bench(settings, options, lambda message: status.update(escape(message)))
    print_report(Console(), report)
    outputs.write(report, "latentwatch bench" + (" --quick" if quick else ""))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the report, the alerts and the log.")] = Path("demo-output"),
) -> None:
    """See it work: embedded broker, real model, bundled events, alerts and a report."""
    from monitor.demo.broker import EmbeddedBroker
    from monitor.demo.run import run_demo

    raise typer.Exit(run_demo(out, Console(), EmbeddedBroker()))


@app.command()
def version() -> None:
    """Print the version."""
    print(f"latentwatch {monitor.__version__}")  # noqa: T201


@sets_app.command("list")
def sets_list(
    config: ConfigOption = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Every figure of every source, as Markdown.")] = False,
) -> None:
    """List the feature sets in use, with what was measured."""
    if markdown:
        sets = [loaded.set for loaded in _feature_sets(config)]
        print(f"{figures_table(sets)}\n\n{false_positive_table(sets)}")  # noqa: T201
        return
    Console().print(overview(_feature_sets(config)))


@sets_app.command("show")
def sets_show(
    set_id: Annotated[str, typer.Argument(help="Id of the set, as `sets list` prints it.")],
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="The whole set, with the config's changes, as JSON.")] = False,
) -> None:
    """Show one feature set: what it means, its features, calibration, figures and known faults."""
    loaded = next((s for s in _feature_sets(config) if s.set.id == set_id), None)
    if loaded is None:
        raise ConfigError(f"no set {set_id} in use; `latentwatch sets list` shows them")
    if as_json:
        _print_json(loaded.set.model_dump(mode="json"))
    else:
        show(Console(), loaded)


@config_app.command("schema")
def schema_of_config() -> None:
    """Print the JSON schema of the config file."""
    _print_json(config_schema())


@alerts_app.command("schema")
def schema_of_alerts() -> None:
    """Print the JSON schema of an alert."""
    _print_json(alert_schema())


def _feature_sets(config: Path | None) -> list[LoadedSet]:
    wanted = load_config(config, os.environ).feature_sets
    return load_feature_sets(wanted.paths, wanted.only, wanted.overrides)


def _print_json(data: dict[str, Any]) -> None:
    print(json.dumps(data, indent=2, ensure_ascii=False))  # noqa: T201


def _with_options(settings: Config, device: str | None, capture_content: bool) -> Config:
    data = settings.model_dump()
    if device is not None:
        data["reader"]["device"] = device
        if device != "cpu":
            data["reader"]["engine"] = "torch"
    if capture_content:
        data["alerts"]["capture_content"] = True
    return Config.model_validate(data)


def _telemetry(settings: Config, otel: OtelConfig) -> Telemetry:
    sets = settings.feature_sets
    reader = load_feature_sets(sets.paths, sets.only, sets.overrides)[0].shipped.reader
    model: dict[str, str | int] = {"latentwatch.model": reader.model, "latentwatch.layer": reader.layer}
    stream = Stream(settings.source.topic, settings.source.group_id, settings.kafka.client_id)
    return Telemetry(otel, monitor.__version__, model, stream)


def _sinks(settings: Config, telemetry: Telemetry) -> list[Sink]:
    sinks: list[Sink] = []
    if settings.sinks.jsonl.enabled:
        from monitor.sinks.jsonl import JsonlSink

        sinks.append(JsonlSink(settings.sinks.jsonl.path, settings.sinks.jsonl.fsync))
    if settings.sinks.otel.enabled:
        from monitor.sinks.otel import OtelSink

        sinks.append(OtelSink(settings.sinks.otel, telemetry))
    if settings.sinks.kafka.enabled:
        from monitor.sinks.kafka import KafkaSink

        sinks.append(KafkaSink(settings.kafka, settings.sinks.kafka))
    return sinks


def _delivery(settings: Config, sinks: list[Sink], dead_letters: DeadLetters) -> Delivery:
    events = settings.events
    limits = EventLimits(events.max_bytes, events.max_chars, events.max_messages)
    return Delivery(sinks, dead_letters, limits, events.format)


def _counts(totals: Totals) -> str:
    return f"{totals.events} events, {totals.tokens} tokens, {totals.alerts} alerts, {totals.bad} bad"


def _stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set; the loop finishes the batch in hand and leaves."""
    stop = threading.Event()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            signal.signal(number, signal.SIG_DFL)  # asked twice: the next one ends the process at once
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    return stop


@contextmanager
def _closing_all() -> Iterator[list[Callable[[], None]]]:
    """Closes what was opened, the last first; a failure to close one does not keep the others open."""
    opened: list[Callable[[], None]] = []
    try:
        yield opened
    finally:
        for close in reversed(opened):
            try:
                close()
            except Exception:
                log.exception("while closing")
