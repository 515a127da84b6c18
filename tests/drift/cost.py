"""What snapshots cost: `python -m tests.drift.cost` prints time for each set and event, and memory for each sketch."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np

from monitor.alerts.set_score import SetScore
from monitor.drift.recorder import _Counts

_EVENTS, _FEATURES, _SETS = 2_000, 8, 10


def main() -> None:
    rng = np.random.default_rng(0)
    strengths = rng.lognormal(size=(_EVENTS, _FEATURES)).tolist()
    scores = [
        SetScore("set", "category", score, tuple(range(_FEATURES)), tuple(values))
        for score, values in zip(rng.beta(0.3, 5, size=_EVENTS).tolist(), strengths, strict=True)
    ]
    counts, started = _Counts(), time.process_time()
    for score in scores:
        counts.add(score, fired=False)
    seconds = time.process_time() - started
    print(f"{seconds / _EVENTS * 1e6:.1f} µs for each set and event with {_FEATURES} active features")  # noqa: T201
    tracemalloc.start()
    kept = [_Counts() for _ in range(_SETS)]
    for counts in kept:
        for score in scores:
            counts.add(score, fired=False)
    size = tracemalloc.get_traced_memory()[0]
    print(f"{size / _SETS / (1 + _FEATURES) / 1e3:.1f} kB for each sketch of {_EVENTS:,} values")  # noqa: T201


if __name__ == "__main__":
    main()
