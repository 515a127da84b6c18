"""Runs a whole benchmark: ceilings, readers, the pipeline and the curves."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import monitor
from monitor.assembly.artefacts import Artefacts, load_artefacts
from monitor.assembly.build import find_bundle
from monitor.assembly.tokeniser import build_tokeniser
from monitor.bench.ceilings import Ceilings, Rates
from monitor.bench.measure import ReportProgress, choose, loaded, measure
from monitor.bench.operations import Operations, count_operations
from monitor.bench.pipeline import measure_pipeline
from monitor.bench.results import BenchReport
from monitor.bench.scaling import Curves
from monitor.bench.sizes import FULL, QUICK, WORKLOADS, Sizes
from monitor.bench.worker_process import WorkerProcess
from monitor.bench.workloads import make_workloads
from monitor.compiler.architectures import architecture_of
from monitor.compiler.model_weights import read_config
from monitor.config.sections import Config
from monitor.errors import ConfigError, LatentwatchError, Permanent
from monitor.machine import machine, usable_cores
from monitor.readers.onnx.bundle import Bundle

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
# Longer repetitions are not worth the wait, such as bf16 on a CPU without it
_LONGEST_S = {"quick": 60.0, "full": 240.0}


@dataclass(frozen=True)
class Options:
    """What to measure."""

    quick: bool = False
    readers: tuple[str, ...] = READERS
    workloads: tuple[str, ...] = WORKLOADS
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


def run_bench(config: Config, options: Options, report_progress: ReportProgress) -> BenchReport:
    """Measures everything that `options` ask for. `BenchReport.skipped` says what can't be measured and why.

    Raises ConfigError if the config, the feature sets or the model can't be used.
    """
    started = time.monotonic()
    mode = "quick" if options.quick else "full"
    sizes = options.sizes or (QUICK if options.quick else FULL)
    load = os.getloadavg()[0]
    artefacts = load_artefacts(config)
    bundle = _bundle(config, artefacts, options, report_progress)
    precision = bundle.manifest.precision.chosen
    stages = {"bundle": time.monotonic() - started}
    report = BenchReport(_machine(config, mode, load))
    report.machine["stage_seconds"] = stages
    readers = choose(options.readers, config, bundle.folder, _operations(artefacts))
    with (
        WorkerProcess(Ceilings, config.reader.threads) as worker,
        loaded(readers, report.skipped, report_progress) as running,
    ):
        report_progress("measuring ceilings")
        rates = Rates(worker, report.skipped)
        rates.measure()
        workloads = make_workloads(options.workloads, sizes)
        tokeniser = build_tokeniser(config, artefacts.model)
        longest_s, skipped = _LONGEST_S[mode], report.skipped
        report.results += measure(running, workloads, tokeniser, sizes, longest_s, rates, skipped, report_progress)
        report.machine["ceilings_gops"] = {name: rate / 1e9 for name, rate in rates.known.items()}
    stages["readers"] = time.monotonic() - started - sum(stages.values())
    if options.pipeline:
        report_progress("measuring the pipeline")
        try:
            report.pipeline = measure_pipeline(config, bundle.folder, precision, sizes)
        except LatentwatchError as e:
            report.skipped.append(f"pipeline: {e}")
    stages["pipeline"] = time.monotonic() - started - sum(stages.values())
    if options.scaling:
        _measure_curves(config, bundle, sizes, report, report_progress)
    stages["scaling"] = time.monotonic() - started - sum(stages.values())
    report.machine["seconds"] = time.monotonic() - started
    return report


def _measure_curves(
    config: Config, bundle: Bundle, sizes: Sizes, report: BenchReport, report_progress: ReportProgress
) -> None:
    with WorkerProcess(Curves, config, bundle.folder, bundle.manifest.precision.chosen, sizes) as worker:
        for curve in ("features", "widths", "lengths", "batches", "turns"):
            report_progress(f"measuring how cost grows: {curve}")
            try:
                report.scaling += worker.call(curve)
            except Permanent as e:
                report.skipped.append(f"curve of {curve}: {e}")


def _bundle(config: Config, artefacts: Artefacts, options: Options, report_progress: ReportProgress) -> Bundle:
    """The configured bundle, or one from the cache; with int8 if an int8 reader is requested."""
    bundle = find_bundle(config, artefacts, report_progress)
    if bundle.manifest.precision.chosen == "int8" or not any("int8" in name for name in options.readers):
        return bundle
    return find_bundle(_with_precision(config, "int8"), artefacts, report_progress)


def _with_precision(config: Config, precision: str) -> Config:
    return config.changed(reader=config.reader.changed(precision=precision))


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
