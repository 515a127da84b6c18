"""A whole benchmark: ceilings, readers, the pipeline and the curves, one after the other."""

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
from monitor.bench.measure import Say, choose, loaded, measure
from monitor.bench.pipeline import measure_pipeline
from monitor.bench.results import Report
from monitor.bench.scaling import Curves
from monitor.bench.sizes import FULL, QUICK, WORKLOADS, Sizes
from monitor.bench.work import Work, count_work
from monitor.bench.worker import Worker
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
# A repetition that would take longer is not worth the wait, as with bf16 on a processor that does not have it
_LONGEST_S = {"quick": 60.0, "full": 240.0}


@dataclass(frozen=True)
class Options:
    """What is to be measured."""

    quick: bool = False
    readers: tuple[str, ...] = READERS
    workloads: tuple[str, ...] = WORKLOADS
    pipeline: bool = True
    scaling: bool = True
    sizes: Sizes | None = None
    """Instead of those of a quick or a full run."""

    def __post_init__(self) -> None:
        for option, names, known in (
            ("--readers", self.readers, READERS),
            ("--workloads", self.workloads, WORKLOADS),
        ):
            for name in names:
                if name not in known:
                    raise ConfigError(f"{option}: {name!r} is not known; {', '.join(known)} are")


def run_bench(config: Config, options: Options, say: Say) -> Report:
    """Measures everything that `options` ask for. What cannot be measured is in `Report.skipped`, with the reason.

    Raises ConfigError where the config, the feature sets or the model cannot be used.
    """
    started = time.monotonic()
    mode = "quick" if options.quick else "full"
    sizes = options.sizes or (QUICK if options.quick else FULL)
    load = os.getloadavg()[0]
    artefacts = load_artefacts(config)
    bundle = find_bundle(config, artefacts, say)
    precision: PrecisionName = "fp32" if config.reader.precision == "fp32" else "int8"
    stages = {"bundle": time.monotonic() - started}
    report = Report(_machine(config, mode, load))
    report.machine["stage_seconds"] = stages
    readers = choose(options.readers, config, bundle.folder, _works(artefacts))
    with (
        Worker(Ceilings, config.reader.threads) as worker,
        loaded(readers, report.skipped, say) as running,
    ):
        say("measuring ceilings")
        rates = Rates(worker, report.skipped)
        rates.measure()
        workloads = make_workloads(options.workloads, sizes)
        tokeniser = build_tokeniser(config, artefacts.model)
        longest_s, skipped = _LONGEST_S[mode], report.skipped
        report.results += measure(running, workloads, tokeniser, sizes, longest_s, rates, skipped, say)
        report.machine["ceilings_gops"] = {name: rate / 1e9 for name, rate in rates.known.items()}
    stages["readers"] = time.monotonic() - started - sum(stages.values())
    if options.pipeline:
        say("the pipeline")
        try:
            report.pipeline = measure_pipeline(config, bundle.folder, precision, sizes)
        except LatentwatchError as e:
            report.skipped.append(f"pipeline: {e}")
    stages["pipeline"] = time.monotonic() - started - sum(stages.values())
    if options.scaling:
        _measure_curves(config, bundle, precision, sizes, report, say)
    stages["scaling"] = time.monotonic() - started - sum(stages.values())
    report.machine["seconds"] = time.monotonic() - started
    return report


def _measure_curves(
    config: Config, bundle: Bundle, precision: PrecisionName, sizes: Sizes, report: Report, say: Say
) -> None:
    with Worker(Curves, config, bundle.folder, precision, sizes) as worker:
        for curve in ("features", "widths", "lengths", "batches", "turns"):
            say(f"growth: {curve}")
            try:
                report.scaling += worker.call(curve)
            except Permanent as e:
                report.skipped.append(f"growth of {curve}: {e}")


def _works(artefacts: Artefacts) -> dict[str, Work]:
    """Operations of the whole model with the whole SAE, of our part, and of the whole model without an SAE."""
    try:
        model = artefacts.uncompiled("counting operations")
    except ConfigError:
        return {}  # a bundle does not say how wide the whole model is
    folder, sae = model.model.folder, model.sae
    values = read_config(folder)
    a = architecture_of(values, str(folder / "config.json"))
    inner, vocabulary = int(values.get("intermediate_size", 0)), int(values.get("vocab_size", 0))
    blocks = artefacts.ref.layer + 1
    # all latents of a TopK SAE have a say in which are active
    latents = sae.d_sae if sae.architecture == "topk" else len(artefacts.latents)
    return {
        "whole": count_work(a, inner, a.layers, sae.d_sae, vocabulary),
        "ours": count_work(a, inner, blocks, latents),
        "bare": count_work(a, inner, a.layers, 0),
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
    """A comma-separated option."""
    return tuple(default) if text is None else tuple(name.strip() for name in text.split(",") if name.strip())
