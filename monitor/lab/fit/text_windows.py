"""TextWindows: the windows of long segments, as sets with windows pool them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.lab.reading.segment_table import SegmentTable


@dataclass(frozen=True)
class TextWindows:
    """The windows of those entries of a SegmentTable that have several, as sets with windows pool them."""

    entry: NDArray[np.int64]
    """[window] The entry of the segment."""
    x: NDArray[np.float16]
    """[window, s] Mean latents, shrunk as in the set's pooling."""
    residual: NDArray[np.float32]
    """[window, d] Mean residual."""
    shrink: NDArray[np.float32]
    """[window] The factor by which the set's pooling shrinks a mean."""
    tokens: NDArray[np.int32]
    """[window]"""

    @classmethod
    def of(cls, windows: SegmentTable, whole: SegmentTable, prior_tokens: int) -> TextWindows:
        """The `windows` of the segments of `whole`, as SegmentReader reads both."""
        entries = {(int(r), int(t)): e for e, (r, t) in enumerate(zip(whole.row, whole.turn, strict=True))}
        keys = zip(windows.row, windows.turn, strict=True)
        x, shrink = windows.shrunk(prior_tokens)
        return cls(
            np.array([entries[int(r), int(t)] for r, t in keys], dtype=np.int64),
            x,
            windows.residual,
            shrink,
            windows.tokens,
        )

    def highest(self, whole: NDArray[np.float64], logits: NDArray[np.float64], penalty: float) -> NDArray[np.float64]:
        """Logits [entry] of segments: `whole` [entry], but of those with windows the highest of `logits` [window].

        `penalty` is Pooling.window_penalty.
        """
        count = np.bincount(self.entry, minlength=whole.size)
        best = np.full(whole.size, -np.inf)
        np.maximum.at(best, self.entry, logits)
        return np.where(count > 0, best - penalty * np.log(np.maximum(count, 1)), whole)

    def apart(self) -> NDArray[np.bool_]:
        """[window] Every second window of a segment, from the first one on: those that share no token."""
        first = np.searchsorted(self.entry, self.entry)  # windows stand in the order of their entries
        found: NDArray[np.bool_] = (np.arange(self.entry.size) - first) % 2 == 0
        return found
