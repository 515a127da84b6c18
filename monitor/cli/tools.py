"""The commands around a deployment: `latentwatch compile`, `check`, `bench`, `demo` and `version`."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli.events import inspect_file
from monitor.cli.exit_code import ExitCode
from monitor.cli.options import ConfigOption
from monitor.cli.wiring import load_settings
from monitor.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from monitor.readers.onnx.manifest import Verification

log = logging.getLogger("monitor")


def compile_(
    config: ConfigOption = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the bundle; must not exist.")] = Path("bundle"),
    verify: Annotated[
        bool, typer.Option("--verify", help="Also compare how int8 and fp32 decide on many events; takes minutes.")
    ] = False,
    calibration: Annotated[
        list[Path] | None,
        typer.Option(
            help="With --verify: JSONL file of events; repeatable (default: bundled labelled texts).",
            show_default=False,
        ),
    ] = None,
    events: Annotated[int, typer.Option(min=1, help="With --verify: most events to compare on.")] = 1_000,
) -> None:
    """Compile model and SAE into a bundle that runs without torch and transformers, for any feature sets."""
    settings = load_settings(config)
    from rich.console import Console
    from rich.markup import escape

    from monitor.assembly.artefacts import load_artefacts
    from monitor.assembly.bundle_cache import compile_artefacts
    from monitor.assembly.verify import verify as verify_bundle
    from monitor.compiler.calibration_events import load_calibration_events
    from monitor.telemetry.log import configure_logging

    configure_logging(settings.log)
    if calibration and not verify:
        raise ConfigError("--calibration: only --verify reads these events; add --verify")
    traffic = load_calibration_events(calibration or (), events) if verify else []
    artefacts = load_artefacts(settings).uncompiled("compiling")
    bundle = compile_artefacts(settings, artefacts, out, log.info)
    console = Console()
    if verify:
        bundle = verify_bundle(settings, artefacts, bundle, traffic, log.info)
        if bundle.manifest.verification is not None:
            console.print(_verification_table(bundle.manifest.verification))
    size = sum(path.stat().st_size for path in bundle.folder.iterdir()) / 1e6
    console.print(f"{escape(str(bundle.folder))}: {size:,.0f} MB", highlight=False)


def _verification_table(v: Verification) -> Table:
    from rich.table import Table

    table = Table("int8 against fp32", "", show_header=True)
    table.add_row("events", f"{v.events:,}")
    table.add_row("read again in fp32", f"{v.confirmed:.1%}")
    table.add_row("decide as fp32 without reading again", f"{v.raw_agreement:.2%}")
    table.add_row("decide as fp32", f"{v.agreement:.2%}")
    table.add_row("largest AUROC loss", f"{max(v.auroc_loss.values(), default=0.0):+.4f}")
    table.add_row("residual FVU", f"{v.residual_fvu:.4f}")
    table.add_row("accepted", "yes" if v.accepted else "no: reader.precision: auto reads in fp32")
    return table


def check(
    config: ConfigOption = None,
    timeout: Annotated[float, typer.Option(help="Longest wait for the brokers, in seconds.", min=1)] = 10.0,
    config_only: Annotated[
        bool, typer.Option("--config-only", help="Check only the config and the feature sets, as a CI job can.")
    ] = False,
    sample: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Instead, show what would be judged of each record of this file; see `events inspect`.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Check everything that could stop a sidecar from starting; print every problem and change nothing.

    Covers config, health port, sinks, brokers, feature sets, model, SAE and reader.
    Exits with code 2 if there is a problem, and with code 3 if a record of the sample is bad.
    """
    if sample is not None:
        inspect_file(load_settings(config), sample)
        return
    from rich.console import Console
    from rich.markup import escape

    from monitor.cli.check import check as run_checks
    from monitor.report.visible_text import visible_line

    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # its failures are among the problems
    console = Console()
    failed = False
    for result in run_checks(config, os.environ, timeout, config_only):
        if result.problems:
            failed = True
            console.print(f"[red]✗[/] {escape(result.part)}", highlight=False)
            for problem in result.problems:
                console.print(f"    {escape(visible_line(problem))}", highlight=False, soft_wrap=True)
        else:
            mark = "[green]✓[/]" if result.checked else "-"
            console.print(f"{mark} {escape(result.part)}: {escape(result.detail)}", highlight=False, soft_wrap=True)
    if failed:
        raise typer.Exit(ExitCode.BAD_CONFIG)


def bench(
    config: ConfigOption = None,
    quick: Annotated[bool, typer.Option("--quick", help="Measure only as much as fits into three minutes.")] = False,
    as_json: Annotated[Path | None, typer.Option("--json", help="File for the figures as JSON.")] = None,
    as_markdown: Annotated[Path | None, typer.Option("--markdown", help="File for the tables as Markdown.")] = None,
    plot: Annotated[Path | None, typer.Option(help="PNG file, or a folder for it, that shows how cost grows.")] = None,
    readers: Annotated[
        str | None, typer.Option(help="Readers to measure, separated by commas (default: all).", show_default=False)
    ] = None,
    workloads: Annotated[
        str | None,
        typer.Option(
            help="Workloads to measure: short, long, multi_turn, separated by commas (default: all).",
            show_default=False,
        ),
    ] = None,
    only_start: Annotated[
        bool, typer.Option("--only-start", help="Measure only how soon a sidecar is ready, and its memory.")
    ] = False,
    skip_pipeline: Annotated[bool, typer.Option("--skip-pipeline", help="Skip the pipeline through Kafka.")] = False,
    skip_scaling: Annotated[bool, typer.Option("--skip-scaling", help="Skip measuring how cost grows.")] = False,
) -> None:
    """Measure what a deployment costs on this machine, next to what one would write without latentwatch."""
    from rich.console import Console

    from monitor.bench.outputs import Outputs
    from monitor.bench.run import READERS, Options, names, run_bench
    from monitor.bench.sizes import WORKLOADS
    from monitor.bench.tables import print_report
    from monitor.demo.progress import ProgressLine

    settings = load_settings(config)
    outputs = Outputs(as_json, as_markdown, plot)
    outputs.check()
    options = Options(
        quick,
        () if only_start else names(readers, READERS),
        names(workloads, WORKLOADS),
        pipeline=not (skip_pipeline or only_start),
        scaling=not (skip_scaling or only_start),
    )
    with ProgressLine(Console(stderr=True)) as progress:
        report = run_bench(settings, options, progress.update)
    print_report(Console(), report)
    outputs.write(report, "latentwatch bench" + (" --quick" if quick else ""))


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the report, the alerts and the log.")] = Path("demo-output"),
) -> None:
    """See it work: embedded broker, real model, bundled events, alerts and a report."""
    from rich.console import Console

    from monitor.demo.broker import EmbeddedBroker
    from monitor.demo.run import run_demo

    raise typer.Exit(run_demo(out, Console(), EmbeddedBroker()))


def version() -> None:
    """Print the version."""
    import monitor

    print(f"latentwatch {monitor.__version__}")  # noqa: T201
