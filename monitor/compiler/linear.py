"""Linear: a product with weights in one of the precisions that a graph can have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.compiler.graph import CONTRIB, Graph
from monitor.compiler.quantise import LEVELS, quantise_columns
from monitor.model.four_bit import BLOCK, FourBitWeight
from monitor.readers.onnx.manifest import PrecisionName

FOUR_BIT_PRODUCT = "MatMulNBits"
Precision = PrecisionName
Weight = NDArray[np.float32] | FourBitWeight
"""[channel, out]."""


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
        unit = graph.constant(f"unit.{limit:g}", np.array(limit / LEVELS, np.float32))
        return Operand(graph.add("QuantizeLinear", values, unit, _zero_point(graph)), unit)
    unit = graph.constant("unit.1", np.array(1 / LEVELS, np.float32))
    largest = graph.add("ReduceMax", graph.add("Abs", values), graph.integers(-1), keepdims=1)
    scale = graph.add("Max", largest, graph.constant("tiny", np.array(1e-20, np.float32)))  # a row may be all zero
    rows = graph.add("Div", values, scale)  # within -1 and 1
    return Operand(graph.add("QuantizeLinear", rows, unit, _zero_point(graph)), unit, scale)


def product(graph: Graph, x: Operand, name: str, weight: Weight, bias: NDArray[np.float32] | None = None) -> str:
    """x @ weight + bias as float32 [token, out]; int8 weights [channel, out] have a scale for every output channel.

    A weight in 4 bits is multiplied in float32, as exactly as a dense one. Raises ValueError if `x` is in int8 then.
    """
    if isinstance(weight, FourBitWeight):
        if x.unit is not None:
            raise ValueError(f"{name}: a weight in 4 bits and values in int8")
        result = _product_of_blocks(graph, x.values, name, weight)
    elif x.unit is None:
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


def _product_of_blocks(graph: Graph, x: str, name: str, weight: FourBitWeight) -> str:
    """x @ weight, where the operator has (level - 8) * unit.

    What remains of a block's offset is the same for all its channels, so it is multiplied with their sum. The operator
    could take the offsets itself, but then it has no fast path.
    """
    channels, outputs = weight.shape
    levels = weight.levels[:, :, ::2] | weight.levels[:, :, 1::2] << 4
    scaled = graph.add(
        FOUR_BIT_PRODUCT,
        x,
        graph.constant(f"{name}.levels", levels),
        graph.constant(f"{name}.units", weight.units),
        domain=CONTRIB,
        K=channels,
        N=outputs,
        bits=4,
        block_size=BLOCK,
        accuracy_level=1,  # float32
    )
    ones = np.repeat(np.eye(channels // BLOCK, dtype=np.float32), BLOCK, axis=0)  # [channel, block]
    sums = graph.add("MatMul", x, graph.constant(f"block_sums.{channels}", ones))
    offsets = (weight.offsets + 8 * weight.units).T
    return graph.add("Add", scaled, graph.add("MatMul", sums, graph.constant(f"{name}.offsets", offsets)))


def product_of_inputs(graph: Graph, x: Operand, weight: str, units: str, bias: str) -> str:
    """x @ weight + bias of graph inputs; `units` is the input with the unit of each int8 column."""
    if x.unit is None:
        return graph.add("Gemm", x.values, weight, bias)
    result = graph.add("MatMulIntegerToFloat", x.values, weight, x.unit, units, _zero_point(graph), domain=CONTRIB)
    if x.scale is not None:
        result = graph.add("Mul", result, x.scale)
    return graph.add("Add", result, bias)


def _zero_point(graph: Graph) -> str:
    # unsigned, because x86's fast int8 instructions multiply unsigned by signed
    return graph.constant("zero_point", np.array(128, np.uint8))
