"""The encoder of an SAE as ONNX operators: residual stream in, feature activations out; its weights are inputs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monitor.compiler import encoder_inputs as inputs
from monitor.compiler.graph import Graph
from monitor.compiler.linear import Operand, Precision, operand, product_of_inputs
from monitor.readers.onnx.sparse import ACTIVATIONS, LATENTS, VALUES
from monitor.sae.weights import SaeWeights

Array = NDArray[np.float32]


def add_encoder(
    graph: Graph,
    residual: str,
    sae: SaeWeights,
    *,
    folded: bool,
    max_norm: float | None,
    turn: Array | None,
    precision: Precision,
    suffix: str = "",
) -> None:
    """Adds the encoder (see SaeWeights for the maths), linear probes, and their inputs and outputs.

    The inputs are those of `encoder_columns`, for any latents and any probes; of `sae`, only the kind counts here.
    ReLU, JumpReLU and gated SAEs put out `activations` [token, latent and probe]. A TopK SAE, all of whose latents
    decide which are active, puts out `values` and `latents` [token, k and probe] of the active ones; probes have
    numbers after the latents'. Probes are always in float32.
    `residual` [token, d] is the residual stream, rotated by `turn`. A token whose residual is longer than `max_norm`
    reads 0. A graph with several encoders has another `suffix` to the names of each one's inputs and outputs.
    """
    _Encoder(graph, sae, folded, turn, precision, suffix).add(residual, max_norm)


class _Encoder:
    def __init__(
        self, graph: Graph, sae: SaeWeights, folded: bool, turn: Array | None, precision: Precision, suffix: str
    ) -> None:
        self._g = graph
        self._sae = sae
        self._scaled = sae.activation_scale(folded) is not None
        self._turn = turn
        self._precision = precision
        self._suffix = suffix

    def add(self, residual: str, max_norm: float | None) -> None:
        g = self._g
        pre = self._pre_activations(self._normalised(residual))
        probes = self._input(inputs.PROBES, "float32", [self._sae.d_in, "probe"])
        offsets = self._input(inputs.PROBE_OFFSETS, "float32", ["probe"])
        projections = g.add("Add", g.add("MatMul", residual, probes), offsets)
        usual = self._usual(residual, max_norm)
        if self._sae.architecture == "topk":
            values, latents = self._topk(pre)
            values = self._masked(g.add("Concat", values, projections, axis=-1), usual)
            g.output(values, VALUES + self._suffix, "float32", ["token", f"slot{self._suffix}"])
            g.output(
                self._with_probe_numbers(latents), LATENTS + self._suffix, "int64", ["token", f"slot{self._suffix}"]
            )
            return
        activations = self._gated(pre) if self._sae.architecture == "gated" else self._thresholded(pre)
        if self._scaled:
            activations = g.add("Mul", activations, self._by_latent(inputs.FOLD))
        activations = g.add("Concat", activations, projections, axis=-1)
        g.output(
            self._masked(activations, usual), ACTIVATIONS + self._suffix, "float32", ["token", f"slot{self._suffix}"]
        )

    def _by_latent(self, name: str) -> str:
        return self._input(name, "float32", ["latent"])

    def _input(self, name: str, dtype: str, shape: list[int | str]) -> str:
        # sizes that differ from run to run have names, too, and are not the same at another hook point
        sizes = [size + self._suffix if isinstance(size, str) else size for size in shape]
        return self._g.input(name + self._suffix, dtype, sizes)

    def _normalised(self, residual: str) -> str:
        """The SAE's input; it is still rotated, except under layer_norm."""
        g, d = self._g, self._sae.d_in
        if self._sae.normalisation == "constant_norm_rescale":  # a rotation does not change a length
            length = g.add("ReduceL2", residual, g.integers(-1), keepdims=1)
            unit = g.add("Div", residual, g.add("Max", length, g.constant("sae.eps12", np.array(1e-12, np.float32))))
            return g.add("Mul", unit, g.constant("sae.root_d", np.array(np.sqrt(d), np.float32)))
        if self._sae.normalisation == "none":
            return residual
        if self._turn is not None:
            residual = g.add("MatMul", residual, g.constant("sae.turn_back", self._turn.T))
        centred = g.add("Sub", residual, g.add("ReduceMean", residual, g.integers(-1), keepdims=1))
        # the unbiased deviation, and eps outside the root, as in SAELens
        length = g.add("ReduceL2", centred, g.integers(-1), keepdims=1)
        deviation = g.add("Mul", length, g.constant("sae.unbiased", np.array((d - 1) ** -0.5, np.float32)))
        scale = g.add("Add", deviation, g.constant("sae.eps5", np.array(1e-5, np.float32)))
        return g.add("Div", centred, scale)

    def _pre_activations(self, x: str) -> str:
        """[token, latent]; b_dec is part of the bias."""
        g = self._g
        shape: list[int | str] = [self._sae.d_in, "latent"]
        bias = self._by_latent(inputs.ENCODER_BIAS)
        if not inputs.quantised_encoder(self._precision, self._turn is not None):
            return product_of_inputs(g, Operand(x), self._input(inputs.ENCODER, "float32", shape), "", bias)
        encoder = self._input(inputs.ENCODER, "int8", shape)
        units = self._by_latent(inputs.ENCODER_UNITS)
        return product_of_inputs(g, operand(g, x, self._precision), encoder, units, bias)

    def _thresholded(self, pre: str) -> str:
        """ReLU, or JumpReLU if there are thresholds."""
        g = self._g
        activations = g.add("Relu", pre)
        if self._sae.threshold is None:
            return activations
        above = g.add("Greater", pre, self._by_latent(inputs.THRESHOLD))
        return g.add("Mul", activations, g.add("Cast", above, to=1))

    def _gated(self, pre: str) -> str:
        g = self._g
        zero = g.constant("sae.zero", np.array(0, np.float32))
        gate = g.add("Greater", g.add("Add", pre, self._by_latent(inputs.GATE)), zero)
        magnitude = g.add("Mul", pre, self._by_latent(inputs.GAIN))
        magnitude = g.add("Relu", g.add("Add", magnitude, self._by_latent(inputs.MAGNITUDE)))
        return g.add("Mul", magnitude, g.add("Cast", gate, to=1))

    def _topk(self, pre: str) -> tuple[str, str]:
        g = self._g
        values, latents = g.add_many("TopK", [pre, g.integers(self._sae.k or 1)], 2, axis=-1, sorted=0)
        values = g.add("Relu", values)
        if self._scaled:
            values = g.add("Mul", values, g.add("Gather", self._by_latent(inputs.FOLD), latents, axis=0))
        return values, latents

    def _with_probe_numbers(self, latents: str) -> str:
        g = self._g
        numbers = self._input(inputs.PROBE_NUMBERS, "int64", [1, "probe"])
        tokens = g.add("Gather", g.add("Shape", latents), g.integers(0), axis=0)  # [1]
        probes = g.add("Gather", g.add("Shape", numbers), g.integers(1), axis=0)
        rows = g.add("Expand", numbers, g.add("Concat", tokens, probes, axis=0))
        return g.add("Concat", latents, rows, axis=-1)

    def _usual(self, residual: str, max_norm: float | None) -> str | None:
        """1 for tokens whose residual stream is no longer than `max_norm`, else 0; [token, 1]."""
        if max_norm is None:
            return None
        g = self._g
        length = g.add("ReduceL2", residual, g.integers(-1), keepdims=1)
        limit = g.constant(f"sae.max_norm{self._suffix}", np.array(max_norm, np.float32))
        massive = g.add("Greater", length, limit)
        return g.add("Cast", g.add("Not", massive), to=1)

    def _masked(self, values: str, usual: str | None) -> str:
        return values if usual is None else self._g.add("Mul", values, usual)
