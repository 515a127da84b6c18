"""SelfTest: reads a bundle's reference texts in each precision on this machine: are they right, how fast, how near?"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.matching import Matcher, SegmentActivations
from monitor.readers.onnx.bundle import Bundle
from monitor.readers.onnx.hook_columns import HookColumns
from monitor.readers.onnx.manifest import PrecisionName
from monitor.readers.onnx.reader import OnnxReader
from monitor.sets.load import LoadedSet

MARGIN_DEVIATIONS = 3.0
MIN_GAIN = 1.2
"""How much faster int8 must be, with what is read again, to be worth a second graph.

Less may be noise. If fp32 reads everything, weights that are not in 4 bits are packed and 1.1 times as fast."""
_GROUPS = 4


@dataclass(frozen=True)
class SelfTest:
    """What both precisions found in the reference texts."""

    exact: list[NDArray[np.float32]]
    """Activations [token, column] of each text in fp32."""
    rounded: list[NDArray[np.float32]]
    """The same in int8."""
    tokens_per_s: Mapping[PrecisionName, float]

    def scores(self, loaded: LoadedSet, columns: Sequence[int | str]) -> NDArray[np.float64]:
        """How far above its threshold the set puts each text [precision, text], in the units of Scale.margin.

        Precisions are fp32 and int8. Every text counts as one segment of each name that the set looks at.
        """
        at = {name: column for column, name in enumerate(columns)}
        where = np.array([at[name] for name in loaded.columns()], dtype=np.int64)
        matcher = Matcher(loaded.set.model_copy(update={"min_tokens": 1}), columns=where)
        scale, threshold = matcher.detector.scale, matcher.detector.threshold
        found = []
        for texts in (self.exact, self.rounded):
            best = [matcher.best([SegmentActivations(n, 0, text) for n in loaded.set.segments]) for text in texts]
            found.append([math.nan if b is None else scale.margin(b[1].value, threshold) for b in best])
        return np.array(found)


@dataclass(frozen=True)
class Comparison:
    """How int8 would do on this machine with some feature sets."""

    margins: Mapping[str, float]
    """By set id: how near its threshold, in the units of Scale.margin, an event is read again in fp32."""
    confirmed: float
    """Share of the reference texts that would be read again."""
    gain: float
    """Tokens/s of int8 with what is read again, over those of fp32."""


def run_self_test(
    bundle: Bundle,
    exact: OnnxReader,
    rounding: OnnxReader,
    latents: Sequence[int],
    further: Sequence[HookColumns] = (),
) -> SelfTest:
    """Reads the reference texts with the fp32 reader `exact` and the int8 reader `rounding`.

    The first columns of both are `latents`, the last those of the hook points `further`.
    Raises ConfigError if fp32 is not what it was when the bundle was compiled.
    """
    texts = bundle.reference("fp32").texts
    readers: dict[PrecisionName, OnnxReader] = {"fp32": exact, "int8": rounding}
    found: dict[PrecisionName, list[NDArray[np.float32]]] = {name: [] for name in readers}
    seconds: dict[PrecisionName, list[float]] = {name: [] for name in readers}
    size = -(-len(texts) // _GROUPS)
    for start in range(0, len(texts), size):  # in turns, so that both see the same machine
        for name, reader in readers.items():
            started = time.perf_counter()
            read = reader.read_uncached(texts[start : start + size])
            seconds[name].append(time.perf_counter() - started)
            found[name] += list(read)
    bundle.check("fp32", latents, found["fp32"], further)
    tokens = [sum(t.shape[0] for t in found["fp32"][n : n + size]) for n in range(0, len(texts), size)]
    # the first group warms up, unless there is no other
    speeds = {name: sum(tokens[-3:]) / sum(times[-3:]) for name, times in seconds.items()}
    return SelfTest(found["fp32"], found["int8"], speeds)


def compare(test: SelfTest, sets: Sequence[LoadedSet], columns: Sequence[int | str]) -> Comparison:
    """Margins of the sets, and what int8 with confirmation gains with them.

    The margin of a set is as many standard deviations of its rounding noise as leave out 3 of 1,000 events, with a
    factor for how few texts the noise was measured on, and at least the largest difference that was seen.
    """
    margins: dict[str, float] = {}
    near = np.zeros(len(test.exact), np.bool_)
    for loaded in sets:
        exact, rounded = test.scores(loaded, columns)
        noise = (rounded - exact)[np.isfinite(rounded - exact)]
        if noise.size < 2:
            continue  # the engine reads everything again for a set without a margin
        deviation = math.sqrt(float(np.mean(noise**2)))
        margin = max(tolerance_factor(noise.size) * deviation, float(np.abs(noise).max()))
        margins[loaded.set.id] = margin
        near |= rounded >= -margin
    confirmed = 1.0 if len(margins) < len(sets) else float(near.mean())
    fast, slow = test.tokens_per_s["int8"], test.tokens_per_s["fp32"]
    return Comparison(margins, confirmed, 1 / (slow / fast + confirmed))


def tolerance_factor(count: int) -> float:
    """How many measured deviations are MARGIN_DEVIATIONS true ones, with 95 % confidence from `count` values.

    The lower 5 % quantile of chi-squared is approximated as in Wilson & Hilferty 1931.
    """
    freedom = count
    quantile = freedom * (1 - 2 / (9 * freedom) - 1.645 * math.sqrt(2 / (9 * freedom))) ** 3
    return MARGIN_DEVIATIONS * math.sqrt(freedom / quantile)
