"""The results of a benchmark, and the JSON that `latentwatch bench --json` writes."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ReaderResult:
    """One reader on one workload. Figures are medians of all repetitions unless stated otherwise.

    An event's tokens are all its tokens, whether a reader computes them or takes them from a cache.
    """

    workload: str
    reader: str
    tokens_per_s: float
    events_per_s: float
    """At the workload's mean tokens per event, even if a slow reader was measured on a sample of it."""
    ratio_to_naive: float | None
    """Events/s relative to naive_fp32 in the same run; None if that did not run."""
    p50_ms: float
    """Latency of an event when all arrive at once, from the start of its group to its activations."""
    p99_ms: float
    ceiling_fraction: float | None
    """The least time that its arithmetic can take, relative to the time that it took; see operations.py."""
    cpu_s_per_mtok: float
    """CPU seconds of all threads per million tokens."""
    peak_rss_mb: float
    """Peak memory of its process while it read, in 10^6 bytes."""
    padding_waste: float
    """Padding tokens per real token in products with weights."""
    p50_batch1_ms: float
    """Latency of an event that arrives by itself."""
    p99_batch1_ms: float
    load_peak_rss_mb: float
    """Peak memory of its process while it loaded."""
    spread: float
    """(Slowest repetition - fastest) / median."""
    repetitions: int
    events: int
    """Events per repetition."""
    tokens: int


@dataclass(frozen=True)
class PipelineResult:
    """The sidecar behind a broker, compared with only its engine on the same events."""

    events: int
    """Events per round."""
    rounds: int
    events_per_s: float
    """From the first publication to the last commit."""
    engine_events_per_s: float
    overhead_percent: float
    """How much longer the way through Kafka takes, as the median over the rounds. Noise can make it negative."""
    spread_percent: float
    """Highest overhead of a round minus the lowest."""


@dataclass(frozen=True)
class StartResult:
    """A sidecar with a compiled bundle, from the start of its process until it is ready. Medians of all starts."""

    starts: int
    loaded_s: float
    """Until it has loaded everything, passed its self-test and asks the broker for records."""
    ready_s: float
    """Until /readyz answers 200, as the first member of a new consumer group."""
    rss_mb: float
    """Memory of the process when it is ready, in 10^6 bytes."""
    shared_mb: float
    """What of that is mapped files, which the processes of a machine share."""


@dataclass(frozen=True)
class CurvePoint:
    """One point of a curve: everything except `variable` stays constant."""

    variable: str
    """features, sae_width, length, batch or turn."""
    series: str
    value: int
    tokens_per_s: float
    ms: float
    """Milliseconds for the tokens of one run, or for `turn`, for that turn's event."""
    tokens: int
    spread: float
    repetitions: int
    """Without the one that warms up; 0 if there was time only for that one."""


@dataclass
class BenchReport:
    """Everything that one run measured."""

    machine: dict[str, Any]
    results: list[ReaderResult] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    """Workload and reader of each result that would have been too short to mean anything."""
    start: StartResult | None = None
    pipeline: PipelineResult | None = None
    scaling: list[CurvePoint] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    shortened: list[str] = field(default_factory=list)
    """What was measured less than planned, because time was short."""

    def to_json(self) -> str:
        """All parts. `machine.skipped` says what was not measured and why, `machine.shortened` what was cut."""
        data = {
            "machine": {**self.machine, "skipped": self.skipped, "shortened": self.shortened},
            "results": [dataclasses.asdict(row) for row in self.results],
            "start": {} if self.start is None else dataclasses.asdict(self.start),
            "pipeline": {} if self.pipeline is None else dataclasses.asdict(self.pipeline),
            "scaling": [dataclasses.asdict(point) for point in self.scaling],
        }
        return json.dumps(_rounded(data), indent=1, allow_nan=False) + "\n"


def _rounded(value: Any) -> Any:
    """Rounds to five significant digits, more than any measurement here is worth."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
