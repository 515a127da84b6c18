"""Graph: an ONNX graph under construction, whose large weights go to disk as they come."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, external_data_helper, helper, numpy_helper

# Operators that onnxruntime adds to the standard ones
CONTRIB = "com.microsoft"
_OPSET, _IR = 18, 9
_TYPES = {
    "float32": TensorProto.FLOAT,
    "int64": TensorProto.INT64,
    "uint8": TensorProto.UINT8,
    "int8": TensorProto.INT8,
}
# A larger initializer goes to the file of weights, which is memory-mapped and not parsed
_EXTERNAL_BYTES = 1_024
_PAGE_BYTES = 4_096


class Graph:
    """Collects nodes, initializers, inputs and outputs; every operator's result gets its own name.

    Use it in a `with` block. `save` writes the file `path` (the graph); next to it, in the same name with .data, are
    its large weights. Each of them is written when it is added, so that memory never holds more than one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._data_path = path.with_name(path.name + ".data")
        self._data = self._data_path.open("wb")
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def __enter__(self) -> Graph:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._data.close()

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
            values = np.asarray(values, order="C")
            small = values.nbytes <= _EXTERNAL_BYTES
            self._constants[name] = numpy_helper.from_array(values, name) if small else self._external(name, values)
        return name

    def has_constant(self, name: str) -> bool:
        """Whether there is an initializer of that name."""
        return name in self._constants

    def has_operator(self, operator: str) -> bool:
        """Whether any node is one."""
        return any(node.op_type == operator for node in self._nodes)

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

    def save(self) -> None:
        """Writes the graph; nothing can be added after that."""
        self._data.close()
        graph = helper.make_graph(
            self._nodes, "reader", self._inputs, self._outputs, initializer=list(self._constants.values())
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(CONTRIB, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR, producer_name="latentwatch")
        self._path.write_bytes(model.SerializeToString())

    def _external(self, name: str, values: NDArray[Any]) -> Any:
        self._data.write(bytes(-self._data.tell() % _PAGE_BYTES))  # whole pages can be mapped
        offset = self._data.tell()
        self._data.write(values.data)
        tensor = TensorProto(
            name=name, dims=values.shape, data_type=helper.np_dtype_to_tensor_dtype(values.dtype), raw_data=b""
        )
        external_data_helper.set_external_data(tensor, self._data_path.name, offset=offset, length=values.nbytes)
        tensor.ClearField("raw_data")
        return tensor
