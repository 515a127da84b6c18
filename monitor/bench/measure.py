"""Measures readers on workloads, each in its own process and in turn, so that all see the machine in the same state."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.bench.budget import Budget, Slice
from monitor.bench.ceilings import Rates
from monitor.bench.operations import Operations, Span, spans
from monitor.bench.other_readers import make_llama_cpp, make_naive
from monitor.bench.progress import Progress
from monitor.bench.readers import Repetition, make_latentwatch
from monitor.bench.results import BenchReport, ReaderResult
from monitor.bench.sizes import Sizes
from monitor.bench.worker_process import WorkerProcess
from monitor.bench.workloads import Workload
from monitor.config.sections import Config
from monitor.errors import Permanent
from monitor.events.event import Event
from monitor.tokens.tokeniser import EventTokeniser

NAIVE = "naive_fp32"
_FIRST_LOADED = ("onnx_int8_confirmed", "onnx_int8", "onnx_fp32")
_FIRST_LOAD_S = 45.0
_FAST_LOAD_SHARE = 0.6
"""Of the time to load: for the fast readers, which load first, so that slow ones do not keep them from it."""
_LEAST_SHARE = 0.25
"""Of a workload's events; a repetition of fewer says too little to be shown."""
_LONGEST_SHARE = 0.5
"""Of what a workload has left: for a repetition that does not fit into its reader's share."""
_SINGLES_SHARE = 0.4
"""Of a workload's time for reading one event at a time; the rest is for repetitions."""


@dataclass(frozen=True)
class BenchReader:
    """A reader in the benchmark: how to make it, and the operations that its time is compared with."""

    name: str
    make: Callable[..., Any]
    arguments: tuple[Any, ...]
    slow: bool = False
    """Measured less often, on a sample of each workload."""
    caching: bool = False
    reads_prefixes: bool = True
    """Whether it computes shared prefixes again in every event."""
    operations: Operations | None = None
    precisions: tuple[str, str] = ("", "")
    """Precision of products with weights, and of attention."""


@dataclass(frozen=True)
class _Floor:
    """What a reader read in `seconds`, to compare with the ceilings once they are known."""

    reader: BenchReader
    read: Sequence[Span]
    seconds: float

    def fraction(self, rates: Mapping[str, float]) -> float | None:
        """The least possible time divided by the measured time; None if operations or rates are unknown."""
        weights, attention = (rates.get(precision) for precision in self.reader.precisions)
        if self.reader.operations is None or weights is None or attention is None:
            return None
        return self.reader.operations.floor_s(self.read, weights, attention) / self.seconds


class _TooSlow(Permanent):
    """There is no time for a repetition that would say anything."""


@dataclass(frozen=True)
class _Wanted:
    """How much of a trial the benchmark's sizes ask for."""

    singles: int
    events: int
    repetitions: int


@dataclass
class _Trial:
    """One reader on one workload: its input and its repetitions."""

    reader: BenchReader
    worker: WorkerProcess
    events: tuple[Event, ...]
    repetitions: int
    padding: float
    singles: Repetition
    wanted: _Wanted
    expected_s: float
    """Seconds that a repetition should take."""
    done: list[Repetition] = dataclasses.field(default_factory=list)

    def shortened(self) -> list[str]:
        """What was measured less than wanted."""
        return [
            f"{count} of {wanted} {what}"
            for count, wanted, what in (
                (len(self.singles.latencies_s), self.wanted.singles, "single events"),
                (len(self.events), self.wanted.events, "events"),
                (self.repetitions, self.wanted.repetitions, "repetitions"),
            )
            if count < wanted
        ]


def choose(names: Sequence[str], config: Config, bundle: Path, counted: Mapping[str, Operations]) -> list[BenchReader]:
    """The readers `names`. Keys of `counted`: `whole`, `latentwatch`, `bare` (the whole model without head and SAE)."""

    def floor(part: str, weights: str, attention: str) -> dict[str, Any]:
        return {"operations": counted.get(part), "precisions": (weights, attention)}

    dtype = {"float32": "fp32", "bfloat16": "bf16"}.get(config.reader.dtype, "")
    on_cpu = config.reader.device == "cpu"
    known = [
        BenchReader(NAIVE, make_naive, (config, "float32"), slow=True, **floor("whole", "fp32", "fp32")),
        BenchReader("naive_bf16", make_naive, (config, "bfloat16"), slow=True, **floor("whole", "bf16", "bf16")),
        BenchReader(
            "torch",
            make_latentwatch,
            ("torch", config, bundle),
            slow=True,
            reads_prefixes=False,
            **(floor("latentwatch", dtype, dtype) if on_cpu else {}),
        ),
        BenchReader("llama_cpp", make_llama_cpp, (config,), slow=True, **floor("bare", "int8", "fp32")),
    ]
    for precision in ("fp32", "int8"):
        for suffix in ("", "_cache", "_confirmed"):
            name = f"onnx_{precision}{suffix}"
            known.append(
                BenchReader(
                    name,
                    make_latentwatch,
                    (name, config, bundle),
                    caching=bool(suffix),
                    reads_prefixes=False,
                    # how much is read twice depends on the events, so the whole engine has no floor
                    **(floor("latentwatch", precision, "fp32") if suffix != "_confirmed" else {}),
                )
            )
    return [reader for name in names for reader in known if reader.name == name]


@contextmanager
def loaded(
    readers: Sequence[BenchReader], skipped: list[str], progress: Progress, time: Slice
) -> Iterator[list[tuple[BenchReader, WorkerProcess]]]:
    """The readers' processes, once they have loaded, in the order of `readers`.

    If one can't load in time, the reason is added to `skipped`.
    """
    ready: dict[str, WorkerProcess] = {}
    with ExitStack() as opened:

        def start(reader: BenchReader) -> WorkerProcess:
            return opened.enter_context(WorkerProcess(reader.make, *reader.arguments))

        def wait(reader: BenchReader, worker: WorkerProcess, left_s: float) -> None:
            progress.detail(reader.name)
            try:
                worker.wait_made(_at_least_a_second(left_s))
                ready[reader.name] = worker
            except Permanent as e:
                skipped.append(f"{reader.name}: {e}")

        part = time.part(_FAST_LOAD_SHARE)
        last_s = 0.0
        # one by one, so that a slow machine loads some of them rather than none in time
        for reader in sorted((r for r in readers if not r.slow), key=_load_rank):
            if last_s > part.left_s:
                skipped.append(f"{reader.name}: left out: it would take about {last_s:.0f} s to load")
                continue
            began_s = monotonic()
            # the first one may take longer than its share, because without any reader nothing can be measured
            wait(reader, start(reader), part.left_s if ready else max(part.left_s, _FIRST_LOAD_S))
            last_s = monotonic() - began_s
        slow = [reader for reader in readers if reader.slow]
        if last_s > time.left_s:  # they import more than the fast ones
            skipped.extend(f"{reader.name}: left out: no time to load it" for reader in slow)
            slow = []
        for reader, worker in [(reader, start(reader)) for reader in slow]:
            wait(reader, worker, time.left_s)
        yield [(reader, ready[reader.name]) for reader in readers if reader.name in ready]


def _load_rank(reader: BenchReader) -> int:
    return _FIRST_LOADED.index(reader.name) if reader.name in _FIRST_LOADED else len(_FIRST_LOADED)


def measure(
    running: Sequence[tuple[BenchReader, WorkerProcess]],
    workloads: Sequence[Workload],
    tokeniser: EventTokeniser,
    sizes: Sizes,
    *,
    longest_s: float,
    budget: Budget,
    rates: Rates,
    report: BenchReport,
    progress: Progress,
) -> list[ReaderResult]:
    """A result for each workload and reader. `budget` has a slice for each workload.

    If time is short, a reader gets fewer events and repetitions, which `report.shortened` says. If there is no time for
    _LEAST_SHARE of the events, the reader is left out (`report.left_out`). A reader that would take more than
    `longest_s` per repetition is skipped, and so is one whose process dies. `report.skipped` has the reasons, and the
    other readers are still measured. The ceilings are measured again after every workload, because a
    machine that was busy at first would set them too low.
    """
    skipped = report.skipped
    load_peaks: dict[str, float] = {}
    for reader, worker in running:
        try:
            load_peaks[reader.name] = float(worker.call("peak"))
        except Permanent as e:
            skipped.append(f"{reader.name}: {e}")
    running = [(reader, worker) for reader, worker in running if reader.name in load_peaks]
    prefixes = tokeniser.shared_prefixes()
    rows: list[ReaderResult] = []
    floors: list[_Floor] = []
    for workload in workloads:
        progress.stage(workload.name)
        time = budget.begin(workload.name)
        ids = {item.event.id: item.ids for item in tokeniser.tokenise(workload.events)}
        trials = _begin_all(running, workload, ids, sizes, longest_s, time, report, progress)
        for repetition in range(max((trial.repetitions for trial in trials), default=0)):
            for trial in [t for t in trials if repetition < t.repetitions]:
                if repetition and time.left_s < trial.done[-1].seconds:
                    trial.repetitions = repetition
                    continue
                progress.detail(f"{trial.reader.name}, repetition {repetition + 1} of {trial.repetitions}")
                try:
                    # the first repetition is short enough for the slice if it takes what it should
                    within_s = _at_least_a_second(max(time.left_s, 3 * trial.expected_s))
                    trial.done.append(trial.worker.call("run", trial.events, within_s=within_s))
                except Permanent as e:
                    skipped.append(f"{trial.reader.name} on {workload.name}: {e}")
                    trials.remove(trial)
        for trial in trials:
            if less := trial.shortened():
                report.shortened.append(f"{trial.reader.name} on {workload.name}: {', '.join(less)}")
            rows.append(_row(workload, trial, _speed(trials, NAIVE, ids), ids, load_peaks))
            floors.append(_Floor(trial.reader, _read(trial, ids, prefixes), _median([r.seconds for r in trial.done])))
        rates.measure()
    return [
        dataclasses.replace(row, ceiling_fraction=floor.fraction(rates.known))
        for row, floor in zip(rows, floors, strict=True)
    ]


def _begin_all(
    running: Sequence[tuple[BenchReader, WorkerProcess]],
    workload: Workload,
    ids: Mapping[str, NDArray[np.int32]],
    sizes: Sizes,
    longest_s: float,
    time: Slice,
    report: BenchReport,
    progress: Progress,
) -> list[_Trial]:
    """The trials of a workload, of which every reader has read single events."""
    trials = []
    repetition_s = (1 - _SINGLES_SHARE) * time.left_s / max(1, len(running))
    singles = time.part(_SINGLES_SHARE)
    for n, (reader, worker) in enumerate(running):
        progress.detail(f"{reader.name}, one event at a time")
        share = singles.part(1 / (len(running) - n))
        try:
            trials.append(_begin(reader, worker, workload, ids, sizes, longest_s, share, repetition_s, time))
        except _TooSlow as e:
            report.left_out.append((workload.name, reader.name))
            report.skipped.append(f"{reader.name} on {workload.name}: {e}")
        except Permanent as e:
            report.skipped.append(f"{reader.name} on {workload.name}: {e}")
    return trials


def _begin(
    reader: BenchReader,
    worker: WorkerProcess,
    workload: Workload,
    ids: Mapping[str, NDArray[np.int32]],
    sizes: Sizes,
    longest_s: float,
    time: Slice,
    repetition_s: float,
    whole: Slice,
) -> _Trial:
    """Reads single events in `time`, which also warms up, and chooses events that take at most `repetition_s`.

    A slow reader may use up what `whole` has for the readers after it, but a call that takes longer ends its process.
    Raises _TooSlow if even a short repetition would take too long.
    """
    limit_s = _at_least_a_second(whole.left_s)
    in_order = reader.caching and workload.name == "multi_turn"
    count = max(1, sizes.single_events // 4) if reader.slow else sizes.single_events
    # a cache is only warm if everything before the event was read
    single = workload.events if in_order else workload.spread(count)
    events = workload.sample(sizes.slow_batches) if reader.slow else workload.events
    repetitions = sizes.slow_repetitions if reader.slow else sizes.repetitions
    wanted = _Wanted(len(single), len(events), repetitions)
    first: Repetition = worker.call("run", single[:1], within_s=limit_s)
    kept = time.fits(len(single), first.seconds)
    single = workload.events[:kept] if in_order else workload.spread(kept)
    single_events: Repetition = worker.call("run", single, True, within_s=limit_s)
    token_s = single_events.seconds / sum(ids[e.id].size for e in single)
    expected_s = token_s * sum(ids[e.id].size for e in events)
    if expected_s > repetition_s:
        fitting = int(len(events) * repetition_s / expected_s)
        least = math.ceil(len(events) * _LEAST_SHARE)
        events = events[: max(fitting, least)]
        expected_s = token_s * sum(ids[e.id].size for e in events)
        if fitting < least and expected_s > _LONGEST_SHARE * whole.left_s:
            raise _TooSlow(f"left out: only {len(events)} of its {wanted.events} events would take {expected_s:.0f} s")
    if expected_s > longest_s:
        raise _TooSlow(f"left out: it would take about {expected_s:.0f} s per repetition")
    padding = worker.call("padding", events, within_s=limit_s)
    return _Trial(reader, worker, events, repetitions, padding, single_events, wanted, expected_s)


def _at_least_a_second(seconds: float) -> float:
    """So that a process gets the chance to answer, even if no time is left."""
    return max(1.0, seconds)


def _row(
    workload: Workload,
    trial: _Trial,
    naive: float | None,
    ids: Mapping[str, NDArray[np.int32]],
    load_peaks: Mapping[str, float],
) -> ReaderResult:
    """All figures except the ceiling; `naive` is the speed of the naive reader in tokens per second."""
    mean_tokens = sum(found.size for found in ids.values()) / len(ids)
    tokens = _tokens(trial, ids)
    seconds = [r.seconds for r in trial.done]
    latencies = [1e3 * latency for r in trial.done for latency in r.latencies_s]
    single_events = [1e3 * latency for latency in trial.singles.latencies_s]
    speed = tokens / _median(seconds)
    return ReaderResult(
        workload=workload.name,
        reader=trial.reader.name,
        tokens_per_s=speed,
        events_per_s=speed / mean_tokens,
        ratio_to_naive=None if naive is None else speed / naive,
        p50_ms=float(np.percentile(latencies, 50)),
        p99_ms=float(np.percentile(latencies, 99)),
        ceiling_fraction=None,
        cpu_s_per_mtok=_median([r.cpu_s for r in trial.done]) / tokens * 1e6,
        peak_rss_mb=max(r.peak_rss_mb for r in (*trial.done, trial.singles)),
        padding_waste=trial.padding,
        p50_batch1_ms=float(np.percentile(single_events, 50)),
        p99_batch1_ms=float(np.percentile(single_events, 99)),
        load_peak_rss_mb=load_peaks[trial.reader.name],
        spread=(max(seconds) - min(seconds)) / _median(seconds),
        repetitions=len(seconds),
        events=len(trial.events),
        tokens=tokens,
    )


def _speed(trials: Sequence[_Trial], name: str, ids: Mapping[str, NDArray[np.int32]]) -> float | None:
    """Tokens per second of that reader, or None if it was not measured."""
    return next((_tokens(t, ids) / _median([r.seconds for r in t.done]) for t in trials if t.reader.name == name), None)


def _read(trial: _Trial, ids: Mapping[str, NDArray[np.int32]], prefixes: Sequence[NDArray[np.int32]]) -> list[Span]:
    reader = trial.reader
    return spans([ids[e.id] for e in trial.events], () if reader.reads_prefixes else prefixes, reader.caching)


def _tokens(trial: _Trial, ids: Mapping[str, NDArray[np.int32]]) -> int:
    return sum(int(ids[e.id].size) for e in trial.events)


def _median(values: Sequence[float]) -> float:
    return float(np.median(values))
