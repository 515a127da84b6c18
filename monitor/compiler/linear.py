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
    """What goes into products: `values` [token, channel], and for int8 the size of each row's unit, `scale` [token, 1].

    Every token has a scale of its own. With one scale a batch (DynamicQuantizeLinear), a token with massive
    activations leaves the others few levels, and a token's result depends on what happens to share its batch.
    """

    values: str
    scale: str | None


def operand(graph: Graph, values: str, precision: Precision) -> Operand:
    """Prepares `values` [token, channel] for one or more products."""
    if precision == "fp32":
        return Operand(values, None)
    largest = graph.add("ReduceMax", graph.add("Abs", values), graph.integers(-1), keepdims=1)
    scale = graph.add("Max", largest, graph.constant("tiny", np.array(1e-20, np.float32)))  # a row may be all zero
    rows = graph.add("Div", values, scale)  # within -1 and 1
    return Operand(graph.add("QuantizeLinear", rows, _unit(graph), _zero_point(graph)), scale)


def product(graph: Graph, x: Operand, name: str, weight: NDArray[np.float32]) -> str:
    """x @ weight as float32 [token, out]; `weight` [channel, out], in int8 with a scale for every output channel."""
    if x.scale is None:
        return graph.add("MatMul", x.values, graph.constant(name, weight))
    quantised, scales = quantise_columns(weight)
    rows = graph.add(
        "MatMulIntegerToFloat",
        x.values,
        graph.constant(f"{name}.int8", quantised),
        _unit(graph),
        graph.constant(f"{name}.scale", scales),
        _zero_point(graph),
        domain=CONTRIB,
    )
    return graph.add("Mul", rows, x.scale)


def quantise_columns(weight: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric int8 [channel, out] and the unit [out] of each column."""
    scales = np.abs(weight).max(axis=0) / _LEVELS
    scales[scales == 0] = 1.0
    return np.clip(np.rint(weight / scales), -_LEVELS, _LEVELS).astype(np.int8), scales.astype(np.float32)


def _unit(graph: Graph) -> str:
    return graph.constant("unit", np.array(1 / _LEVELS, np.float32))


def _zero_point(graph: Graph) -> str:
    # unsigned, because x86's fast int8 instructions multiply unsigned by signed
    return graph.constant("zero_point", np.array(128, np.uint8))
