"""Sketch: the distribution of many values in little memory, as counts of values that differ by 4 % at most."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ddsketch.ddsketch import BaseDDSketch
from ddsketch.mapping import LogarithmicMapping
from ddsketch.store import CollapsingLowestDenseStore
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt

ACCURACY = 0.02
"""A quantile is at most this share of itself away from the true one."""
MAX_BINS = 256
"""Bins for values of one sign. The smallest values share one bin if the largest is over 20,000 times as large."""
_LOWEST_KEY, _HIGHEST_KEY = -40_000, 40_000  # beyond the range of a float


class SketchData(BaseModel):
    """A sketch in a snapshot: by sign, how many values each bin holds.

    Bin k of `positive` holds values in (g^(k-1), g^k] with g = (1 + accuracy) / (1 - accuracy), and bin k of `negative`
    those whose opposites lie there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    zero: NonNegativeInt = 0
    positive: dict[int, PositiveInt] = {}
    negative: dict[int, PositiveInt] = {}


_EMPTY = SketchData()


class Sketch:
    """A DDSketch (Masson, Rim and Lee, VLDB 2019) that can be written, read and compared."""

    def __init__(self, data: SketchData = _EMPTY) -> None:
        """Raises ValueError if `data` has bins that no value falls into."""
        self._positive = _store(data.positive)
        self._negative = _store(data.negative)
        self._sketch = BaseDDSketch(LogarithmicMapping(ACCURACY), self._positive, self._negative, float(data.zero))

    def add(self, value: float) -> None:
        """Counts a value; one that is not finite is ignored."""
        if math.isfinite(value):
            self._sketch.add(value)

    def merge(self, other: Sketch) -> None:
        """Counts the values of another sketch too."""
        self._sketch.merge(other._sketch)

    @property
    def count(self) -> int:
        """How many values there are."""
        return int(self._sketch.count)

    def quantile(self, share: float) -> float | None:
        """The value that `share` of all values reach at most; None without values."""
        found = self._sketch.get_quantile_value(share)
        return None if found is None else float(found)

    def data(self) -> SketchData:
        """For a snapshot."""
        return SketchData(zero=self._zero, positive=_bins(self._positive), negative=_bins(self._negative))

    def distance(self, other: Sketch) -> float | None:
        """The largest difference of the two cumulative distributions, over the edges of bins; None without values."""
        if not self.count or not other.count:
            return None
        sides = []
        for store, others in ((self._negative, other._negative), (self._positive, other._positive)):
            bins = _bins(store), _bins(others)
            # below it, at least one of the two has put all values in one bin
            lowest = max((max(found) - MAX_BINS + 1 for found in bins if found), default=0)
            sides.append([_cut(found, lowest) for found in bins])
        (negative, other_negative), (positive, other_positive) = sides
        ours = _ordered(negative, self._zero, positive)
        theirs = _ordered(other_negative, other._zero, other_positive)
        largest, below, below_other = 0.0, 0, 0
        for place in sorted(ours.keys() | theirs.keys()):
            below += ours.get(place, 0)
            below_other += theirs.get(place, 0)
            largest = max(largest, abs(below / self.count - below_other / other.count))
        return largest

    @property
    def _zero(self) -> int:
        return int(self._sketch.count - self._positive.count - self._negative.count)


def _store(bins: dict[int, int]) -> CollapsingLowestDenseStore:
    store = CollapsingLowestDenseStore(MAX_BINS)
    for key, count in sorted(bins.items(), reverse=True):
        if not _LOWEST_KEY <= key <= _HIGHEST_KEY:
            raise ValueError(f"bin {key}: no value falls into it")
        store.add(key, float(count))
    return store


def _bins(store: CollapsingLowestDenseStore) -> dict[int, int]:
    counts: Sequence[float] = store.bins
    return {store.offset + place: round(count) for place, count in enumerate(counts) if count}


def _cut(bins: dict[int, int], lowest: int) -> dict[int, int]:
    """The same with all values below a bin in that bin."""
    cut: dict[int, int] = {}
    for key, count in bins.items():
        cut[max(key, lowest)] = cut.get(max(key, lowest), 0) + count
    return cut


def _ordered(negative: dict[int, int], zero: int, positive: dict[int, int]) -> dict[tuple[int, int], int]:
    """Counts by bin; the keys sort like the values."""
    return {
        **{(-1, -key): count for key, count in negative.items()},
        **({(0, 0): zero} if zero else {}),
        **{(1, key): count for key, count in positive.items()},
    }
