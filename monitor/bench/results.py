"""What a benchmark found, as data; the JSON that `latentwatch bench --json` writes."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ReaderResult:
    """One reader on one workload. Medians of all repetitions, where not said otherwise.

    An event's tokens are all of them, whether a reader reads them, remembers them or pads them.
    """

    workload: str
    reader: str
    tokens_per_s: float
    events_per_s: float
    """At the workload's mean of tokens an event, also where a slow reader was measured on a sample of it."""
    ratio_to_naive: float | None
    """Events/s in proportion to those of naive_fp32 in the same run; None where that did not run."""
    p50_ms: float
    """Latency of an event when all were there at once: from when its group was taken to its activations."""
    p99_ms: float
    ceiling_fraction: float | None
    """The least time that its arithmetic takes, in proportion to the time it took; see work.py."""
    cpu_s_per_mtok: float
    """CPU seconds of all threads for a million tokens."""
    peak_rss_mb: float
    """Most memory of its process while it read, in 10^6 bytes."""
    padding_waste: float
    """Padding tokens for each real token in products with weights."""
    p50_batch1_ms: float
    """Latency of an event that came alone."""
    p99_batch1_ms: float
    load_peak_rss_mb: float
    """Most memory of its process while it was loaded."""
    spread: float
    """Slowest repetition less the fastest, in proportion to the median."""
    repetitions: int
    events: int
    """That each repetition read."""
    tokens: int


@dataclass(frozen=True)
class PipelineResult:
    """The sidecar behind a broker, in proportion to its engine alone on the same events."""

    events: int
    """Of a round."""
    rounds: int
    events_per_s: float
    """From the first publication to the last commit."""
    engine_events_per_s: float
    overhead_percent: float
    """How much longer the whole way takes, the median over the rounds; within the spread it may be below 0."""
    spread_percent: float
    """Highest overhead of a round less the lowest."""


@dataclass(frozen=True)
class CurvePoint:
    """One point of a curve: everything but `variable` is held."""

    variable: str
    """features, sae_width, length, batch or turn."""
    series: str
    value: int
    tokens_per_s: float
    ms: float
    """For the tokens of one run; for `turn`, of that turn's event."""
    tokens: int
    spread: float


@dataclass
class BenchReport:
    """Everything that one run measured."""

    machine: dict[str, Any]
    results: list[ReaderResult] = field(default_factory=list)
    pipeline: PipelineResult | None = None
    scaling: list[CurvePoint] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        """The four parts; `machine.skipped` says what was not measured and why."""
        data = {
            "machine": {**self.machine, "skipped": self.skipped},
            "results": [dataclasses.asdict(row) for row in self.results],
            "pipeline": {} if self.pipeline is None else dataclasses.asdict(self.pipeline),
            "scaling": [dataclasses.asdict(point) for point in self.scaling],
        }
        return json.dumps(_rounded(data), indent=1, allow_nan=False) + "\n"


def _rounded(value: Any) -> Any:
    """Five significant digits, which is more than any measurement here is good for."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
