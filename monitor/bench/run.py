"""Runs a whole benchmark: ceilings, readers, the pipeline and the curves."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import monitor
from monitor.assembly.artefacts import Artefacts, load_artefacts
from monitor.assembly.build import find_bundle
from monitor.assembly.tokeniser import build_tokeniser
from monitor.bench.budget import Budget
from monitor.bench.ceilings import Ceilings, Rates
from monitor.bench.measure import choose, loaded, measure
from monitor.bench.operations import Operations, count_operations
from monitor.bench.pipeline import measure_pipeline
from monitor.bench.progress import Progress, Show
from monitor.bench.results import BenchReport, PipelineResult
from monitor.bench.scaling import Curves
from monitor.bench.sizes import FULL, QUICK, WORKLOADS, Sizes
from monitor.bench.start import measure_start
from monitor.bench.worker_process import WorkerProcess
from monitor.bench.workloads import make_workloads
from monitor.compiler.architectures import architecture_of
from monitor.compiler.model_weights import read_config
from monitor.config.sections import Config
from monitor.errors import ConfigError, LatentwatchError, Permanent
from monitor.machine import machine, usable_cores
from monitor.readers.onnx.bundle import Bundle
from monitor.readers.onnx.manifest import PrecisionName

READERS = (
    "naive_fp32",
    "naive_bf16",
    "torch",
    "onnx_fp32",
    "onnx_fp32_cache",
    "onnx_int8",
    "onnx_int8_cache",
    "onnx_int8_confirmed",
    "llama_cpp",
)
CURVES = ("lengths", "batches", "turns", "features", "widths")
"""Those that build graphs come last: if one takes too long, its process is stopped and the rest is lost."""
# Longer repetitions are not worth the wait, such as bf16 on a CPU without it
_LONGEST_S = 240.0
_QUICK_S = 150.0
"""What a quick run may take; what remains of three minutes is for starting and for ending processes."""
_LEAST_S = 120.0
"""Time to measure even if the reader had to be compiled first."""
_SPARE_S = 15.0
"""For a curve to load what it needs, and to end its last repetition."""
_CEILING_S = {"quick": 0.4, "full": math.inf}
_WEIGHTS = {
    "load": 40.0,
    **dict.fromkeys(WORKLOADS, 20.0),
    "start": 12.0,
    "pipeline": 30.0,
    **dict.fromkeys(CURVES, 8.0),
}
"""Seconds of a quick run by measurement, if each takes as long as it may."""


@dataclass(frozen=True)
class Options:
    """What to measure."""

    quick: bool = False
    readers: tuple[str, ...] = READERS
    workloads: tuple[str, ...] = WORKLOADS
    start: bool = True
    pipeline: bool = True
    scaling: bool = True
    sizes: Sizes | None = None
    """Replaces the sizes of a quick or full run."""

    def __post_init__(self) -> None:
        for option, names, known in (
            ("--readers", self.readers, READERS),
            ("--workloads", self.workloads, WORKLOADS),
        ):
            for name in names:
                if name not in known:
                    raise ConfigError(f"{option}: {name!r} is unknown; choose from {', '.join(known)}")


def run_bench(config: Config, options: Options, show: Show, clock: Callable[[], float] = time.monotonic) -> BenchReport:
    """Measures everything that `options` ask for. `BenchReport.skipped` says what can't be measured and why.

    A quick run measures less where time is short, which `BenchReport.shortened` says. Raises ConfigError if the config,
    the feature sets or the model can't be used.
    """
    started = clock()
    mode = "quick" if options.quick else "full"
    sizes = options.sizes or (QUICK if options.quick else FULL)
    load = os.getloadavg()[0]
    curves = CURVES if options.scaling else ()
    workloads = options.workloads if options.readers else ()
    reading = 2 + len(workloads) if options.readers else 0
    progress = Progress(show, 1 + reading + options.start + options.pipeline + len(curves))
    progress.stage("the compiled reader")
    artefacts = load_artefacts(config)
    bundle = find_bundle(config, artefacts, progress.detail)
    precision: PrecisionName = "fp32" if config.reader.precision == "fp32" else "int8"
    stages = {"bundle": clock() - started}
    measured = [
        *(["load", *workloads] if options.readers else []),
        *(["start"] if options.start else []),
        *(["pipeline"] if options.pipeline else []),
        *curves,
    ]
    whole_s = max(_LEAST_S, _QUICK_S - stages["bundle"]) if options.quick else math.inf
    budget = Budget(whole_s, {name: _WEIGHTS[name] for name in measured}, clock)
    report = BenchReport(_machine(config, mode, load))
    report.machine["stage_seconds"] = stages
    if options.readers:
        _measure_readers(config, options, sizes, artefacts, bundle, report, budget, progress)
    stages["readers"] = clock() - started - sum(stages.values())
    if options.start:
        progress.stage("a sidecar's start")
        try:
            report.start = measure_start(config, bundle.folder, sizes.starts, budget.begin("start"))
        except LatentwatchError as e:
            report.skipped.append(f"start: {e}")
    stages["start"] = clock() - started - sum(stages.values())
    too_slow = options.quick and bool(options.readers) and not report.results
    if too_slow and (options.pipeline or options.scaling):
        report.skipped.append("pipeline and curves: left out, because no reader could be measured in time")
    if options.pipeline and not too_slow:
        progress.stage("through Kafka")
        try:
            report.pipeline = measure_pipeline(config, bundle.folder, precision, sizes, budget.begin("pipeline"))
            report.shortened += _shortened_pipeline(report.pipeline, sizes)
        except LatentwatchError as e:
            report.skipped.append(f"pipeline: {e}")
    stages["pipeline"] = clock() - started - sum(stages.values())
    if options.scaling and not too_slow:
        _measure_curves(config, bundle, precision, sizes, report, budget, progress)
    stages["scaling"] = clock() - started - sum(stages.values())
    report.machine["seconds"] = clock() - started
    return report


def _measure_readers(
    config: Config,
    options: Options,
    sizes: Sizes,
    artefacts: Artefacts,
    bundle: Bundle,
    report: BenchReport,
    budget: Budget,
    progress: Progress,
) -> None:
    readers = choose(options.readers, config, bundle.folder, _operations(artefacts))
    progress.stage(f"loading {len(readers)} readers")
    ceiling_s = _CEILING_S[report.machine["mode"]]
    with (
        WorkerProcess(Ceilings, config.reader.threads, ceiling_s) as worker,
        loaded(readers, report.skipped, progress, budget.begin("load")) as running,
    ):
        progress.stage("ceilings")
        rates = Rates(worker, report.skipped)
        rates.measure()
        report.results += measure(
            running,
            make_workloads(options.workloads, sizes),
            build_tokeniser(config, artefacts.model),
            sizes,
            longest_s=_LONGEST_S,
            budget=budget,
            rates=rates,
            report=report,
            progress=progress,
        )
        report.machine["ceilings_gops"] = {name: rate / 1e9 for name, rate in rates.known.items()}


def _shortened_pipeline(result: PipelineResult, sizes: Sizes) -> list[str]:
    if (result.rounds, result.events) == (sizes.pipeline_rounds, sizes.pipeline_events):
        return []
    return [
        f"pipeline: {result.rounds} of {sizes.pipeline_rounds} rounds, "
        f"{result.events} of {sizes.pipeline_events} events each"
    ]


def _measure_curves(
    config: Config,
    bundle: Bundle,
    precision: PrecisionName,
    wanted: Sizes,
    report: BenchReport,
    budget: Budget,
    progress: Progress,
) -> None:
    speeds = [row.tokens_per_s for row in report.results if row.reader == f"onnx_{precision}"]
    first = budget.begin(CURVES[0])
    sizes = wanted.for_speed(min(speeds), first.left_s) if speeds else wanted
    if sizes != wanted:
        report.shortened.append(f"curves: {sizes.scaling_tokens} of {wanted.scaling_tokens} tokens per run")
    with WorkerProcess(Curves, config, bundle.folder, precision, sizes) as worker:
        for curve in CURVES:
            progress.stage(f"how cost grows: {curve}")
            part = first if curve == CURVES[0] else budget.begin(curve)
            try:
                # a curve ends by itself soon after its time is over; a process that does not is stopped
                points = worker.call("measured", curve, part.left_s, within_s=part.left_s + _SPARE_S)
            except Permanent as e:
                report.skipped.append(f"curve of {curve}: {e}")
                continue
            report.scaling += points
            done = min(point.repetitions for point in points)
            if done < wanted.scaling_repetitions:
                report.shortened.append(f"curve of {curve}: {done} of {wanted.scaling_repetitions} repetitions")


def _operations(artefacts: Artefacts) -> dict[str, Operations]:
    """Operations of the whole model with the whole SAE, of latentwatch's part, and of only the whole model."""
    try:
        model = artefacts.uncompiled("counting operations")
    except ConfigError:
        return {}  # a bundle doesn't contain the whole model's widths
    folder, sae = model.model.folder, model.sae
    values = read_config(folder)
    a = architecture_of(values, str(folder / "config.json"))
    inner, vocabulary = int(values.get("intermediate_size", 0)), int(values.get("vocab_size", 0))
    blocks = artefacts.ref.layer + 1
    # which latents of a TopK SAE are active depends on all of them
    latents = sae.d_sae if sae.architecture == "topk" else len(artefacts.latents)
    return {
        "whole": count_operations(a, inner, a.layers, sae.d_sae, vocabulary),
        "latentwatch": count_operations(a, inner, blocks, latents),
        "bare": count_operations(a, inner, a.layers, 0),
    }


def _machine(config: Config, mode: str, load: float) -> dict[str, Any]:
    return {
        "cpu": machine(),
        "cores": config.reader.threads or usable_cores(),
        "load_before": load,
        "mode": mode,
        "ceilings_gops": {},
        "started": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "latentwatch": monitor.__version__,
        "python": platform.python_version(),
        **{name.replace("-", "_"): _version(name) for name in ("onnxruntime", "torch", "transformers", "sae-lens")},
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def names(text: str | None, default: Sequence[str]) -> tuple[str, ...]:
    """The names in a comma-separated option; `default` if it is not given."""
    return tuple(default) if text is None else tuple(name.strip() for name in text.split(",") if name.strip())
