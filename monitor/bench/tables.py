"""A benchmark's results as tables for the terminal and as Markdown for the docs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from monitor.bench.results import BenchReport, CurvePoint, PipelineResult, ReaderResult, StartResult

_START_TITLE = "A sidecar's start from a bundle"
# Two tables per workload, to fit a terminal of 80 columns
_SPEED_HEADS = ("reader", "tokens/s", "spread", "events/s", "vs. naive", "of ceiling", "padding")
_COST_HEADS = ("reader", "p50 ms", "p99 ms", "single p50", "single p99", "CPU s/Mtok", "peak MB")
_TITLES = {
    "features": "Curated features, JumpReLU SAE with 8,192 latents",
    "sae_width": "Latents of the SAE, of which 64 are curated",
    "length": "Tokens per sequence, with the same number of tokens in total",
    "batch": "Sequences of 128 tokens per batch",
    "turn": "One conversation with a system prompt of 400 tokens: cost of each turn's event",
}


def print_report(console: Console, report: BenchReport) -> None:
    """Prints all results as tables."""
    console.print(machine_line(report), style="dim", highlight=False, markup=False)
    for workload, rows in _by_workload(report.results):
        _title(console, _workload_title(workload, rows))
        left_out = _left_out_cells(report, workload)
        console.print(_table(_SPEED_HEADS, [*map(_speed_cells, rows), *left_out]))
        console.print(_table(_COST_HEADS, [*map(_cost_cells, rows), *left_out]))
    if report.start is not None:
        _title(console, _START_TITLE)
        console.print(_start_line(report.start), highlight=False, markup=False)
    if report.pipeline is not None:
        console.print(_pipeline_line(report.pipeline), highlight=False, markup=False)
    for variable, points in _by_variable(report.scaling):
        series = list(dict.fromkeys(p.series for p in points))
        cells = [(value, *row) for value, row in _curve(points, series)]
        _title(console, _TITLES[variable])
        console.print(_table((variable, *series), cells))
    for line in report.shortened:
        console.print(f"cut short: {line}", style="yellow", highlight=False, markup=False)
    for line in report.skipped:
        console.print(f"skipped: {line}", style="yellow", highlight=False, markup=False)


def markdown(report: BenchReport, command: str) -> str:
    """All results as a Markdown page that names the command that printed it."""
    parts = [
        "# Performance figures",
        f"Written by `{command}`. [performance.md](performance.md) says what the columns mean and how they were taken.",
        machine_line(report),
    ]
    for workload, rows in _by_workload(report.results):
        parts += [
            f"## {_workload_title(workload, rows)}",
            _markdown_table(_SPEED_HEADS, [*map(_speed_cells, rows), *_left_out_cells(report, workload)]),
            _markdown_table(_COST_HEADS, [*map(_cost_cells, rows), *_left_out_cells(report, workload)]),
        ]
    if report.start is not None:
        parts += [f"## {_START_TITLE}", _start_line(report.start)]
    if report.pipeline is not None:
        parts += ["## Through Kafka", _pipeline_line(report.pipeline)]
    for variable, points in _by_variable(report.scaling):
        series = list(dict.fromkeys(p.series for p in points))
        cells = [(value, *row) for value, row in _curve(points, series)]
        parts += [f"## {_TITLES[variable]}", _markdown_table((variable, *series), cells)]
    if report.shortened:
        parts += ["## Cut short", "\n".join(f"- {line}" for line in report.shortened)]
    if report.skipped:
        parts += ["## Not measured", "\n".join(f"- {line}" for line in report.skipped)]
    return "\n\n".join(parts) + "\n"


def machine_line(report: BenchReport) -> str:
    """The machine and the libraries that were measured."""
    m = report.machine
    rates = ", ".join(f"{name} {rate:,.0f}" for name, rate in m["ceilings_gops"].items())
    return (
        f"{m['cpu']}, {m['cores']} cores, load {m['load_before']:.1f} before the run; {m['mode']} run of "
        f"{m['started']}, latentwatch {m['latentwatch']}, onnxruntime {m['onnxruntime']}, "
        f"torch {m['torch'] or 'none'}. "
        f"Ceilings in 10^9 operations/s: {rates or 'not measured'}."
    )


def _title(console: Console, text: str) -> None:
    # a table's own title would wrap to the table's width
    console.print(f"\n{text}", style="bold", highlight=False, markup=False)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(*heads)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def _by_workload(rows: Sequence[ReaderResult]) -> list[tuple[str, list[ReaderResult]]]:
    return [(name, list(group)) for name, group in groupby(rows, lambda row: row.workload)]


def _by_variable(points: Sequence[CurvePoint]) -> list[tuple[str, list[CurvePoint]]]:
    return [(name, list(group)) for name, group in groupby(points, lambda point: point.variable)]


def _workload_title(workload: str, rows: Sequence[ReaderResult]) -> str:
    events, tokens = max((row.events, row.tokens) for row in rows)
    return f"{workload}: {events} events, {tokens / events:,.0f} tokens each on average"


def _speed_cells(row: ReaderResult) -> tuple[str, ...]:
    return (
        row.reader,
        f"{row.tokens_per_s:,.0f}",
        f"{row.spread:.0%}" if row.repetitions > 1 else "",
        f"{row.events_per_s:,.1f}",
        "" if row.ratio_to_naive is None else f"{row.ratio_to_naive:.1f}x",
        "" if row.ceiling_fraction is None else f"{row.ceiling_fraction:.0%}",
        f"{row.padding_waste:.0%}",
    )


def _cost_cells(row: ReaderResult) -> tuple[str, ...]:
    return (
        row.reader,
        f"{row.p50_ms:,.0f}",
        f"{row.p99_ms:,.0f}",
        f"{row.p50_batch1_ms:,.0f}",
        f"{row.p99_batch1_ms:,.0f}",
        f"{row.cpu_s_per_mtok:,.0f}",
        f"{row.peak_rss_mb:,.0f}",
    )


def _left_out_cells(report: BenchReport, workload: str) -> list[tuple[str, ...]]:
    """A row for each reader that was too slow for the time."""
    return [(reader, "left out", *[""] * (len(_SPEED_HEADS) - 2)) for of, reader in report.left_out if of == workload]


def _start_line(result: StartResult) -> str:
    return (
        f"Ready {result.ready_s:.1f} s after the process started: {result.loaded_s:.1f} s to load, and "
        f"{result.ready_s - result.loaded_s:.1f} s to join a new consumer group on the embedded broker. "
        f"{result.rss_mb:,.0f} MB of memory, {result.shared_mb:,.0f} MB of them in files that processes share; "
        f"median of {result.starts} starts."
    )


def _pipeline_line(result: PipelineResult) -> str:
    return (
        f"{result.events_per_s:,.1f} events/s through Kafka, {result.engine_events_per_s:,.1f} with only the engine: "
        f"{result.overhead_percent:+.1f} % (spread {result.spread_percent:.1f}), short chats, median of "
        f"{result.rounds} rounds of {result.events} events."
    )


def _curve(points: Sequence[CurvePoint], series: Sequence[str]) -> list[tuple[str, list[str]]]:
    found = {(p.value, p.series): p for p in points}
    values = sorted({p.value for p in points})
    return [(f"{value:,}", [_point_cell(found.get((value, name))) for name in series]) for value in values]


def _point_cell(point: CurvePoint | None) -> str:
    if point is None:
        return ""
    if point.variable == "turn":
        return f"{point.ms:,.0f} ms ({point.tokens:,} tokens)"
    return f"{point.tokens_per_s:,.0f} tokens/s ± {point.spread:.0%}"


def _markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
