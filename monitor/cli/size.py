"""The command `latentwatch size`: what a load needs, from a benchmark's figures."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli.options import ConfigOption
from monitor.cli.wiring import load_settings
from monitor.errors import ConfigError

if TYPE_CHECKING:
    from monitor.scale.figures import Figures
    from monitor.scale.sizing import Sizing

_WIDTH = 110
"""Characters in a line of text."""


def size(
    events_per_s: Annotated[float, typer.Option(min=0.001, help="Events a second, on average.")],
    tokens: Annotated[float, typer.Option(min=1, help="Tokens of an event: the whole prompt and the response.")],
    machine: Annotated[
        Path | None,
        typer.Option(
            help="File that `latentwatch bench --json` wrote (default: measure here, which takes about a minute).",
            show_default=False,
        ),
    ] = None,
    reader: Annotated[str, typer.Option(help="Reader, as `bench` names it.")] = "onnx_int8_confirmed",
    cores: Annotated[float, typer.Option(min=0.1, help="Cores of a replica.")] = 2.0,
    utilisation: Annotated[
        float, typer.Option(min=0.05, max=1, help="Share of a replica's cores that are busy at the peak.")
    ] = 0.6,
    peak: Annotated[float, typer.Option(min=1, help="Events a second at the peak, relative to the average.")] = 1.5,
    cached_share: Annotated[
        float, typer.Option(min=0, max=0.99, help="Share of the tokens that the prefix cache saves.")
    ] = 0.0,
    growth: Annotated[float, typer.Option(min=1, help="Partitions per replica at the peak.")] = 2.0,
    memory: Annotated[float, typer.Option(min=1, help="Memory request relative to the measured peak.")] = 1.25,
    gpu_core_hours: Annotated[float, typer.Option(min=0.1, help="What a GPU-hour costs, in core-hours.")] = 60.0,
    gpu_tokens_per_s: Annotated[
        float | None,
        typer.Option(
            min=1, help="Tokens a second that one GPU reads, as measured on it by `bench`.", show_default=False
        ),
    ] = None,
    server_width: Annotated[int, typer.Option(min=1, help="Width of the served model's residual stream.")] = 4_096,
    server_features: Annotated[int, typer.Option(min=1, help="Features that are watched in the served model.")] = 512,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    config: ConfigOption = None,
) -> None:
    """Say what a load needs: replicas, requests, partitions and core-hours a month, from measured figures."""
    import dataclasses
    import json

    from monitor.scale.figures import Figures
    from monitor.scale.sizing import Assumptions, Load
    from monitor.scale.sizing import size as size_load

    figures = Figures.load(machine) if machine is not None else _measure(config, reader)
    assumptions = Assumptions(
        reader=reader,
        cores=cores,
        utilisation=utilisation,
        peak=peak,
        cached=cached_share,
        growth=growth,
        memory=memory,
        gpu_core_hours=gpu_core_hours,
        gpu_tokens_per_s=gpu_tokens_per_s,
        server_width=server_width,
        server_features=server_features,
    )
    sizing = size_load(Load(events_per_s, tokens), figures, assumptions)
    if as_json:
        print(json.dumps(dataclasses.asdict(sizing), indent=1))  # noqa: T201
    else:
        _print(sizing)


def _measure(config: Path | None, reader: str) -> Figures:
    """Measures only that reader, on few events."""
    from rich.console import Console

    from monitor.bench.run import Options, run_bench
    from monitor.bench.sizes import SIZING
    from monitor.demo.progress import ProgressLine
    from monitor.scale.figures import Figures

    options = Options(True, (reader,), ("short", "long"), start=False, pipeline=False, scaling=False, sizes=SIZING)
    with ProgressLine(Console(stderr=True)) as progress:
        report = run_bench(load_settings(config), options, progress.update)
    if not report.results:
        raise ConfigError(f"--reader: {reader} cannot be measured here: {'; '.join(report.skipped)}")
    return Figures.model_validate_json(report.to_json())


def _print(s: Sizing) -> None:
    from rich.console import Console
    from rich.markup import escape

    from monitor.scale.sizing import HOURS_A_MONTH

    a, load, console = s.assumptions, s.load, Console()

    def line(text: str) -> None:
        console.print(escape(text), highlight=False, soft_wrap=True)

    rows = (
        (
            "tokens to read",
            f"{s.computed_tokens_per_s:,.0f}/s",
            f"{_n(load.events_per_s)} events/s x {_n(load.tokens)} tokens x (1 - {a.cached:g} cached)",
        ),
        ("cores at work", f"{s.busy_cores:,.1f}", f"{s.cpu_s_per_mtok:,.0f} CPU seconds per million tokens"),
        (
            "replicas",
            f"{s.replicas:,}",
            f"cores at work x {a.peak:g} peak / ({a.cores:g} cores x {a.utilisation:g} busy)",
        ),
        ("CPU request", f"{s.cpu_request:g}", "of a replica"),
        ("memory request", f"{s.memory_request_mib:,} MiB", f"of a replica: measured peak x {a.memory:g}"),
        ("events of a replica", f"{s.replica_events_per_s:,.1f}/s", f"with {a.utilisation:.0%} of its cores busy"),
        ("partitions", f"{s.partitions:,}", f"replicas x {a.growth:g}"),
        ("core-hours a month", f"{s.core_hours_a_month:,.0f}", f"replicas x {a.cores:g} cores x {HOURS_A_MONTH} hours"),
        (
            "if autoscaled",
            f"{s.average_core_hours_a_month:,.0f}",
            f"{s.average_replicas:,} replicas on average, without the peak",
        ),
    )
    line(f"Measured: {s.measured}; {a.reader}")
    for name, value, how in rows:
        line(f"  {name:<20}{value:>16}   {how}")
    for text in (_gpu_text(s), _server_text(s), *(f"Note: {note}." for note in s.notes)):
        line(textwrap.fill(text, _WIDTH, subsequent_indent="  "))


def _n(value: float) -> str:
    """Whole numbers without a point, and never as a power of ten."""
    return f"{value:,.0f}" if value == int(value) else f"{value:,.3f}".rstrip("0")


def _gpu_text(s: Sizing) -> str:
    gpu, a = s.gpu, s.assumptions
    text = (
        f"GPU: at {a.gpu_core_hours:g} core-hours a GPU-hour, one pays if it reads more than "
        f"{gpu.pays_from_tokens_per_s:,.0f} tokens/s and has as many to read; here there are "
        f"{gpu.average_tokens_per_s:,.0f}."
    )
    if gpu.gpus is None or gpu.core_hours_a_month is None:
        return f"{text} Measure yours with `latentwatch bench` there and pass --gpu-tokens-per-s."
    verdict = "cheaper" if gpu.core_hours_a_month < s.core_hours_a_month else "not cheaper"
    return f"{text} {gpu.gpus:,} GPUs cost {gpu.core_hours_a_month:,.0f} core-hours a month: {verdict}."


def _server_text(s: Sizing) -> str:
    server, a = s.server_side, s.assumptions
    if server is None:
        return "Server-side activations: the file has no float32 ceiling to compare with."
    verdict = "pays" if server.share_of_reading < 1 else "does not pay"
    return (
        f"Server-side activations: if the model server handed over its residual stream ({a.server_width:,} wide, "
        f"{a.server_features:,} features), {server.busy_cores:,.1f} cores would do the rest, "
        f"{server.share_of_reading:.0%} of reading, and {server.megabytes_per_s:,.1f} MB/s would travel: {verdict} in "
        "cores. latentwatch does not read such activations yet."
    )
