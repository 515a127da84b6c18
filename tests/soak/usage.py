"""Usage: what a process holds of its machine at one moment, and how much that grew."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Usage:
    """Resident memory, threads and descriptors."""

    rss_mb: float
    threads: int
    descriptors: int

    @classmethod
    def of(cls, process: psutil.Process) -> Usage:
        """What `process` holds now."""
        with process.oneshot():
            return cls(process.memory_info().rss / 1e6, process.num_threads(), process.num_fds())

    @classmethod
    def median(cls, samples: Sequence[Usage]) -> Usage:
        """The median of each, because a batch in hand moves single samples."""
        return cls(
            statistics.median(sample.rss_mb for sample in samples),
            round(statistics.median(sample.threads for sample in samples)),
            round(statistics.median(sample.descriptors for sample in samples)),
        )


@dataclass(frozen=True)
class Growth:
    """Usage after warm-up and at the end, each over a tenth of the samples after warm-up."""

    start: Usage
    end: Usage

    @classmethod
    def over(cls, samples: Sequence[Usage], warm_up: float) -> Growth:
        """`warm_up` is the share of the samples that comes before."""
        counted = samples[int(len(samples) * warm_up) :]
        part = max(len(counted) // 10, 1)
        return cls(Usage.median(counted[:part]), Usage.median(counted[-part:]))

    @property
    def rss(self) -> float:
        """As a share of the start: 0.03 is 3 %."""
        return self.end.rss_mb / self.start.rss_mb - 1
