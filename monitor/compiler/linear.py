"""Linear: a product with weights in one of the precisions that a graph can have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from monitor.compiler.graph import CONTRIB, Graph

Precision = Literal["fp32", "int8"]

_LEVELS = 127


@dataclass(frozen=True)
class Operand:
    """What goes into products: `values` [token, channel] and, for int8, how large their unit is.

    The unit is the constant `unit`, times `scale` [token, 1] where every token has a scale of its own. There is never
    one scale a batch (DynamicQuantizeLinear): a token with massive activations would leave the others few levels, and
    a token's result would depend on what happens to share its batch.
    """

    values: str
    unit: str | None = None
    scale: str | None = None


def operand(graph: Graph, values: str, precision: Precision, limit: float | None = None) -> Operand:
    """Prepares `values` [token, channel] for one or more products; what is beyond +-`limit` is cut off in int8.

    Without a limit, every token is measured by its largest value.
    """
    if precision == "fp32":
        return Operand(values)
    if limit is not None:
        unit = graph.constant(f"unit.{limit:g}", np.array(limit / _LEVELS, np.float32))
        return Operand(graph.add("QuantizeLinear", values, unit, _zero_point(graph)), unit)
    unit = graph.constant("unit.1", np.array(1 / _LEVELS, np.float32))
    largest = graph.add("ReduceMax", graph.add("Abs", values), graph.integers(-1), keepdims=1)
    scale = graph.add("Max", largest, graph.constant("tiny", np.array(1e-20, np.float32)))  # a row may be all zero
    rows = graph.add("Div", values, scale)  # within -1 and 1
    return Operand(graph.add("QuantizeLinear", rows, unit, _zero_point(graph)), unit, scale)


def product(
    graph: Graph, x: Operand, name: str, weight: NDArray[np.float32], bias: NDArray[np.float32] | None = None
) -> str:
    """x @ weight + bias as float32 [token, out]; int8 weights [channel, out] have a scale for every output channel."""
    if x.unit is None:
        result = graph.add("MatMul", x.values, graph.constant(name, weight))
    else:
        quantised, scales = quantise_columns(weight)
        result = graph.add(
            "MatMulIntegerToFloat",
            x.values,
            graph.constant(f"{name}.int8", quantised),
            x.unit,
            graph.constant(f"{name}.scale", scales),
            _zero_point(graph),
            domain=CONTRIB,
        )
    if x.scale is not None:
        result = graph.add("Mul", result, x.scale)
    return result if bias is None else graph.add("Add", result, graph.constant(f"{name}.bias", bias))


def quantise_columns(weight: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric int8 [channel, out] and the unit [out] of each column.

    Channels 0 and 1, 2 and 3 and so on are pairs. If both weights of a pair have the same sign, their levels add up to
    at most 128, because x86 without VNNI (vpmaddubsw) adds the products of a pair with two unsigned activations in 16
    bits: 255 * 128 = 32,640 fits, anything above 32,767 is cut off there. See
    docs/decisions/0009-int8-weights-bounded-in-pairs.md.
    """
    scales = _largest_pairs(weight) / _LEVELS  # rounding adds half a level to each weight: 127 + 2 * 0.5 = 128
    scales[scales < np.finfo(np.float32).tiny] = 1.0  # a smaller unit is itself too coarse to divide by
    return np.clip(np.rint(weight / scales), -_LEVELS, _LEVELS).astype(np.int8), scales.astype(np.float32)


def _largest_pairs(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """The largest sum [out] that the positive weights of a pair have in a column, or the negative ones."""
    even = np.pad(weight, ((0, len(weight) % 2), (0, 0)))
    pairs = even.reshape(-1, 2, weight.shape[1])
    largest: NDArray[np.float32] = np.maximum(
        *(np.maximum(sign * pairs, 0).sum(axis=1).max(axis=0) for sign in (np.float32(1), np.float32(-1)))
    )
    return largest


def _zero_point(graph: Graph) -> str:
    # unsigned, because x86's fast int8 instructions multiply unsigned by signed
    return graph.constant("zero_point", np.array(128, np.uint8))
