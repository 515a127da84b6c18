"""Graph: an ONNX graph under construction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

# Operators that onnxruntime adds to the standard ones
CONTRIB = "com.microsoft"
_OPSET, _IR = 18, 9
_TYPES = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "uint8": TensorProto.UINT8}
# A larger initializer goes to the file of weights, which is memory-mapped and not parsed
_EXTERNAL_BYTES = 1_024


class Graph:
    """Collects nodes, initializers, inputs and outputs; every operator's result gets its own name."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def input(self, name: str, dtype: str, shape: Sequence[int | str]) -> str:
        """Declares a graph input; a name in `shape` is a size that may differ from run to run."""
        self._inputs.append(helper.make_tensor_value_info(name, _TYPES[dtype], list(shape)))
        return name

    def output(self, value: str, name: str, dtype: str, shape: Sequence[int | str]) -> None:
        """Declares `value` as the graph output `name`."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, _TYPES[dtype], list(shape)))

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """An initializer; if the name exists already, its first values stay."""
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def integers(self, *values: int) -> str:
        """A constant vector of whole numbers, such as axes and sizes."""
        return self.constant("integers_" + "_".join(map(str, values)), np.array(values, dtype=np.int64))

    def add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Adds an operator with one result and returns the result's name."""
        return self.add_many(operator, inputs, 1, domain=domain, **attributes)[0]

    def add_many(
        self, operator: str, inputs: Sequence[str], results: int, domain: str = "", **attributes: Any
    ) -> list[str]:
        """Adds an operator with several results and returns their names."""
        name = f"{operator}_{len(self._nodes)}"
        outputs = [name if n == 0 else f"{name}_{n}" for n in range(results)]
        self._nodes.append(helper.make_node(operator, list(inputs), outputs, name=name, domain=domain, **attributes))
        return outputs

    def save(self, path: Path) -> None:
        """Writes `path` (the graph) and, next to it, the same name with .data (its weights)."""
        graph = helper.make_graph(
            self._nodes, "reader", self._inputs, self._outputs, initializer=list(self._constants.values())
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(CONTRIB, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR, producer_name="latentwatch")
        data = path.with_name(path.name + ".data")
        data.unlink(missing_ok=True)  # onnx would append to it
        onnx.save_model(
            model,
            str(path),
            save_as_external_data=True,
            all_tensors_to_one_file=True,
            location=data.name,
            size_threshold=_EXTERNAL_BYTES,
        )
