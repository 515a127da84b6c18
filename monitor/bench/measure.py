"""Measures readers on workloads: each in its own process, repetitions in turn, so that all see the same machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.activations.tokens import EventTokeniser
from monitor.bench.others import make_llama_cpp, make_naive
from monitor.bench.readers import Repetition, make_ours
from monitor.bench.results import Row
from monitor.bench.sizes import Sizes
from monitor.bench.work import Work, spans
from monitor.bench.worker import Worker
from monitor.bench.workloads import Workload
from monitor.config import Config
from monitor.errors import Permanent
from monitor.events import Event

NAIVE = "naive_fp32"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Reader:
    """A reader as the benchmark knows it: how to make it, and what its time is compared with."""

    name: str
    make: Callable[..., Any]
    arguments: tuple[Any, ...]
    slow: bool = False
    """Measured on a sample of each workload, less often."""
    caching: bool = False
    reads_starts: bool = True
    """Whether it reads the constant starts anew in every event."""
    work: Work | None = None
    rates: tuple[float, float] | None = None
    """Operations a second: of products with weights, and of attention."""


@dataclass
class _Trial:
    """One reader on one workload: what it is given, and what came of it."""

    reader: Reader
    worker: Worker
    events: tuple[Event, ...]
    repetitions: int
    padding: float
    singles: Repetition
    done: list[Repetition]


def choose(
    names: Sequence[str], config: Config, bundle: Path, works: Mapping[str, Work], rates: Mapping[str, float]
) -> list[Reader]:
    """The readers `names`. `works` has the keys whole, ours and bare (the whole model without head and SAE)."""

    def floor(work: str, weights: str, attention: str) -> dict[str, Any]:
        if work not in works or weights not in rates or attention not in rates:
            return {}
        return {"work": works[work], "rates": (rates[weights], rates[attention])}

    dtype = {"float32": "fp32", "bfloat16": "bf16"}.get(config.reader.dtype, "")
    on_cpu = config.reader.device == "cpu"
    known = [
        Reader(NAIVE, make_naive, (config, "float32"), slow=True, **floor("whole", "fp32", "fp32")),
        Reader("naive_bf16", make_naive, (config, "bfloat16"), slow=True, **floor("whole", "bf16", "bf16")),
        Reader(
            "torch",
            make_ours,
            ("torch", config, bundle),
            slow=True,
            reads_starts=False,
            **(floor("ours", dtype, dtype) if on_cpu else {}),
        ),
        Reader("llama_cpp", make_llama_cpp, (config,), slow=True, **floor("bare", "int8", "fp32")),
    ]
    for precision in ("fp32", "int8"):
        for suffix in ("", "_cache", "_confirmed"):
            name = f"onnx_{precision}{suffix}"
            known.append(
                Reader(
                    name,
                    make_ours,
                    (name, config, bundle),
                    caching=bool(suffix),
                    reads_starts=False,
                    # what is read twice depends on the events, so the whole engine has no floor
                    **(floor("ours", precision, "fp32") if suffix != "_confirmed" else {}),
                )
            )
    return [reader for name in names for reader in known if reader.name == name]


@contextmanager
def loaded(readers: Sequence[Reader], skipped: list[str], say: Say) -> Iterator[list[tuple[Reader, Worker]]]:
    """The readers' processes, once all have loaded; one that cannot goes to `skipped` with its reason."""
    with ExitStack() as opened:
        say(f"loading {len(readers)} readers")
        started = [(reader, opened.enter_context(Worker(reader.make, *reader.arguments))) for reader in readers]
        ready = []
        for reader, worker in started:
            try:
                worker.wait_made()
                ready.append((reader, worker))
            except Permanent as e:
                skipped.append(f"{reader.name}: {e}")
        yield ready


def measure(
    running: Sequence[tuple[Reader, Worker]],
    workloads: Sequence[Workload],
    tokeniser: EventTokeniser,
    sizes: Sizes,
    longest_s: float,
    skipped: list[str],
    say: Say,
) -> list[Row]:
    """A row for each workload and reader. What would take more than `longest_s` a repetition goes to `skipped`."""
    load_peaks = {reader.name: float(worker.call("peak")) for reader, worker in running}
    starts = tokeniser.constant_starts()
    rows: list[Row] = []
    for workload in workloads:
        ids = {item.event.id: item.ids for item in tokeniser.tokenise(workload.events)}
        trials = []
        for reader, worker in running:
            say(f"{workload.name}: {reader.name}, one event at a time")
            try:
                trials.append(_begin(reader, worker, workload, ids, sizes, longest_s))
            except Permanent as e:
                skipped.append(f"{reader.name} on {workload.name}: {e}")
        for repetition in range(max((trial.repetitions for trial in trials), default=0)):
            for trial in [t for t in trials if repetition < t.repetitions]:
                say(f"{workload.name}: {trial.reader.name}, repetition {repetition + 1} of {trial.repetitions}")
                try:
                    trial.done.append(trial.worker.call("run", trial.events))
                except Permanent as e:
                    skipped.append(f"{trial.reader.name} on {workload.name}: {e}")
                    trials.remove(trial)
        rows += _rows(workload, trials, ids, starts, load_peaks)
    return rows


def _begin(
    reader: Reader,
    worker: Worker,
    workload: Workload,
    ids: Mapping[str, NDArray[np.int32]],
    sizes: Sizes,
    longest_s: float,
) -> _Trial:
    """Reads single events, which warms up as well, and tells whether there is time for more."""
    count = max(2, sizes.single_events // 4) if reader.slow else sizes.single_events
    # a cache is only warm where everything before an event was read
    single = workload.events if reader.caching and workload.name == "multi_turn" else workload.spread(count)
    events = workload.sample(sizes.slow_batches) if reader.slow else workload.events
    worker.call("run", single[:1])
    alone: Repetition = worker.call("run", single, True)
    expected_s = alone.seconds * sum(ids[e.id].size for e in events) / sum(ids[e.id].size for e in single)
    if expected_s > longest_s:
        raise Permanent(f"would take about {expected_s:.0f} s a repetition")
    repetitions = sizes.slow_repetitions if reader.slow else sizes.repetitions
    return _Trial(reader, worker, events, repetitions, worker.call("padding", events), alone, [])


def _rows(
    workload: Workload,
    trials: Sequence[_Trial],
    ids: Mapping[str, NDArray[np.int32]],
    starts: Sequence[NDArray[np.int32]],
    load_peaks: Mapping[str, float],
) -> Iterator[Row]:
    mean_tokens = sum(found.size for found in ids.values()) / len(ids)
    speeds = {t.reader.name: _tokens(t, ids) / _median([r.seconds for r in t.done]) for t in trials}
    naive = speeds.get(NAIVE)
    for trial in trials:
        reader, tokens = trial.reader, _tokens(trial, ids)
        seconds = [r.seconds for r in trial.done]
        latencies = [1e3 * latency for r in trial.done for latency in r.latencies_s]
        alone = [1e3 * latency for latency in trial.singles.latencies_s]
        ceiling = None
        if reader.work is not None and reader.rates is not None:
            read = spans([ids[e.id] for e in trial.events], () if reader.reads_starts else starts, reader.caching)
            ceiling = reader.work.floor_s(read, *reader.rates) / _median(seconds)
        speed = speeds[reader.name]
        yield Row(
            workload=workload.name,
            reader=reader.name,
            tokens_per_s=speed,
            events_per_s=speed / mean_tokens,
            ratio_to_naive=None if naive is None else speed / naive,
            p50_ms=float(np.percentile(latencies, 50)),
            p99_ms=float(np.percentile(latencies, 99)),
            ceiling_fraction=ceiling,
            cpu_s_per_mtok=_median([r.cpu_s for r in trial.done]) / tokens * 1e6,
            peak_rss_mb=max(r.peak_rss_mb for r in (*trial.done, trial.singles)),
            padding_waste=trial.padding,
            p50_batch1_ms=float(np.percentile(alone, 50)),
            p99_batch1_ms=float(np.percentile(alone, 99)),
            load_peak_rss_mb=load_peaks[reader.name],
            spread=(max(seconds) - min(seconds)) / _median(seconds),
            repetitions=len(seconds),
            events=len(trial.events),
            tokens=tokens,
        )


def _tokens(trial: _Trial, ids: Mapping[str, NDArray[np.int32]]) -> int:
    return sum(int(ids[e.id].size) for e in trial.events)


def _median(values: Sequence[float]) -> float:
    return float(np.median(values))
