"""The commands around a deployment: `latentwatch compile`, `check`, `bench`, `demo` and `version`."""

from __future__ import annotations

import logging
import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli.exit_code import ExitCode
from monitor.cli.options import ConfigOption
from monitor.cli.wiring import load_settings

if TYPE_CHECKING:
    from rich.table import Table

    from monitor.readers.onnx.manifest import PrecisionCandidate

log = logging.getLogger("monitor")


class PrecisionOption(StrEnum):
    """The values of --precision."""

    auto = "auto"
    fp32 = "fp32"
    int8 = "int8"


def compile_(
    config: ConfigOption = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the bundle; must not exist.")] = Path("bundle"),
    precision: Annotated[
        PrecisionOption,
        typer.Option(help="auto measures on this machine and takes the fastest that agrees with fp32."),
    ] = PrecisionOption.auto,
    calibration: Annotated[
        list[Path] | None,
        typer.Option(
            help="JSONL file of events to compare precisions on; repeatable (default: bundled labelled texts).",
            show_default=False,
        ),
    ] = None,
    events: Annotated[int, typer.Option(min=1, help="Most events to compare precisions on.")] = 1_000,
) -> None:
    """Compile model, SAE and feature sets into a bundle that runs without torch and transformers."""
    settings = load_settings(config)
    from rich.console import Console
    from rich.markup import escape

    from monitor.assembly.artefacts import load_artefacts
    from monitor.assembly.bundle_cache import compile_artefacts
    from monitor.compiler.calibration_events import load_calibration_events
    from monitor.telemetry.log import configure_logging

    configure_logging(settings.log)
    traffic = load_calibration_events(calibration or (), events)
    artefacts = load_artefacts(settings).uncompiled("compiling")
    bundle = compile_artefacts(settings, artefacts, out, precision.value, traffic, log.info)
    measured, console = bundle.manifest.precision, Console()
    if measured.candidates:
        console.print(_precision_table(measured.candidates, measured.chosen))
    size = sum(path.stat().st_size for path in bundle.folder.iterdir()) / 1e6
    console.print(f"{escape(str(bundle.folder))}: {measured.chosen}, {size:,.0f} MB", highlight=False)


def _precision_table(candidates: tuple[PrecisionCandidate, ...], chosen: str) -> Table:
    from rich.table import Table

    table = Table("precision", "tokens/s", "confirmed", "agreement", "residual FVU", "largest AUROC loss", "chosen")
    for c in candidates:
        table.add_row(
            c.precision,
            f"{c.tokens_per_s:,.0f}",
            f"{c.confirmed:.1%}",
            f"{c.agreement:.2%}",
            f"{c.residual_fvu:.4f}",
            f"{max(c.auroc_loss.values(), default=0.0):+.4f}",
            "yes" if c.precision == chosen else "",
        )
    return table


def check(
    config: ConfigOption = None,
    timeout: Annotated[float, typer.Option(help="Longest wait for the brokers, in seconds.", min=1)] = 10.0,
) -> None:
    """Check everything that could stop a sidecar from starting; print every problem and change nothing.

    Covers config, health port, sinks, brokers, feature sets, model, SAE and reader.
    Exits with code 2 if there is a problem.
    """
    from rich.console import Console
    from rich.markup import escape

    from monitor.cli.check import check as run_checks

    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # its failures are among the problems
    console = Console()
    failed = False
    for result in run_checks(config, os.environ, timeout):
        if result.problems:
            failed = True
            console.print(f"[red]✗[/] {escape(result.part)}", highlight=False)
            for problem in result.problems:
                console.print(f"    {escape(problem)}", highlight=False, soft_wrap=True)
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
    options = Options(quick, names(readers, READERS), names(workloads, WORKLOADS), not skip_pipeline, not skip_scaling)
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
