"""The curated rows of an SAE's encoder as ONNX operators: residual stream in, feature activations out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from monitor.compiler.graph import Graph
from monitor.compiler.linear import Precision, operand, product
from monitor.errors import ConfigError
from monitor.readers.onnx.sparse import ACTIVATIONS, LATENTS, VALUES
from monitor.sae.weights import SaeWeights
from monitor.sets.probe import Probe, stacked

Array = NDArray[np.float32]


def add_encoder(
    graph: Graph,
    residual: str,
    sae: SaeWeights,
    *,
    latents: Sequence[int],
    basis: Literal["raw", "decoder_norm_folded"],
    max_norm: float | None,
    turn: Array | None,
    precision: Precision,
    probes: Sequence[Probe] = (),
) -> None:
    """Adds the encoder (see SaeWeights for the maths) and the probes, and their outputs.

    ReLU, JumpReLU and gated SAEs: `activations` [token, latent], only of `latents`. TopK, where all latents decide
    which are active: `values` and `latents` [token, k] of the active ones, whichever they are. Probes follow in
    further slots, with numbers after the SAE's latents; they are always in float32.
    `residual` [token, d] is the residual stream, rotated by `turn`. A token whose residual is longer than `max_norm`
    reads 0.
    """
    if sae.decoder_norm is None and (basis == "decoder_norm_folded" or sae.rescale_by_decoder_norm):
        raise ConfigError("the SAE has no decoder, whose norms the activation basis needs")
    folded = basis == "decoder_norm_folded"
    _Encoder(graph, sae, latents=latents, fold=folded, turn=turn, precision=precision, probes=probes).add(
        residual, max_norm
    )


class _Encoder:
    def __init__(
        self,
        graph: Graph,
        sae: SaeWeights,
        *,
        latents: Sequence[int],
        fold: bool,
        turn: Array | None,
        precision: Precision,
        probes: Sequence[Probe],
    ) -> None:
        self._g = graph
        self._sae = sae
        self._rows = np.array(latents, dtype=np.int64)
        self._norms = sae.decoder_norm if sae.decoder_norm is not None else np.ones(sae.d_sae, np.float32)
        self._fold = fold
        self._turn = turn
        self._precision = precision
        self._probes = probes

    def add(self, residual: str, max_norm: float | None) -> None:
        g = self._g
        x, turn = self._normalised(residual)
        usual = self._usual(residual, max_norm)
        if self._sae.architecture == "topk":
            values, latents = self._topk(x, turn)
            slots = (self._sae.k or 1) + len(self._probes)
            g.output(self._masked(self._with_projections(residual, values), usual), VALUES, "float32", ["token", slots])
            g.output(self._with_probe_numbers(latents), LATENTS, "int64", ["token", slots])
            return
        activations = self._gated(x, turn) if self._sae.architecture == "gated" else self._thresholded(x, turn)
        if self._fold:
            activations = g.add("Mul", activations, g.constant("sae.fold", self._norms[self._rows]))
        activations = self._with_projections(residual, activations)
        slots = self._rows.size + len(self._probes)
        g.output(self._masked(activations, usual), ACTIVATIONS, "float32", ["token", slots])

    def _with_projections(self, residual: str, values: str) -> str:
        if not self._probes:
            return values
        g = self._g
        directions, offsets = stacked(self._probes, self._sae.d_in)
        turned = directions if self._turn is None else self._turn.T @ directions
        found = g.add("Gemm", residual, g.constant("probes", turned), g.constant("probes.offset", offsets))
        return g.add("Concat", values, found, axis=-1)

    def _with_probe_numbers(self, latents: str) -> str:
        if not self._probes:
            return latents
        g, count = self._g, len(self._probes)
        numbers = np.arange(self._sae.d_sae, self._sae.d_sae + count, dtype=np.int64)[None]
        tokens = g.add("Gather", g.add("Shape", latents), g.integers(0), axis=0)  # [1]
        rows = g.add(
            "Expand", g.constant("probes.numbers", numbers), g.add("Concat", tokens, g.integers(count), axis=0)
        )
        return g.add("Concat", latents, rows, axis=-1)

    def _normalised(self, residual: str) -> tuple[str, Array | None]:
        """The SAE's input, and the rotation that the encoder's weights still have to undo."""
        g, d = self._g, self._sae.d_in
        if self._sae.normalisation == "constant_norm_rescale":  # a rotation does not change a length
            length = g.add("ReduceL2", residual, g.integers(-1), keepdims=1)
            unit = g.add("Div", residual, g.add("Max", length, g.constant("sae.eps12", np.array(1e-12, np.float32))))
            return g.add("Mul", unit, g.constant("sae.root_d", np.array(np.sqrt(d), np.float32))), self._turn
        if self._sae.normalisation == "none":
            return residual, self._turn
        if self._turn is not None:
            residual = g.add("MatMul", residual, g.constant("sae.turn_back", self._turn.T))
        centred = g.add("Sub", residual, g.add("ReduceMean", residual, g.integers(-1), keepdims=1))
        # the unbiased deviation, and eps outside the root, as in SAELens
        length = g.add("ReduceL2", centred, g.integers(-1), keepdims=1)
        deviation = g.add("Mul", length, g.constant("sae.unbiased", np.array((d - 1) ** -0.5, np.float32)))
        scale = g.add("Add", deviation, g.constant("sae.eps5", np.array(1e-5, np.float32)))
        return g.add("Div", centred, scale), None

    def _affine(self, x: str, turn: Array | None, weight: Array, bias: Array) -> str:
        """(x - b_dec) @ weight + bias; `weight` [d, latent], `bias` [latent]."""
        if self._sae.subtract_b_dec:
            bias = bias - self._sae.b_dec @ weight
        turned = weight if turn is None else turn.T @ weight
        # without a rotation, a few channels are far larger than the rest, and int8 would lose all others
        if self._precision == "fp32" or self._turn is None:
            g = self._g
            return g.add("Gemm", x, g.constant("sae.encoder", turned), g.constant("sae.encoder.bias", bias))
        return product(self._g, operand(self._g, x, self._precision), "sae.encoder", turned, bias)

    def _thresholded(self, x: str, turn: Array | None) -> str:
        """ReLU, or JumpReLU if there are thresholds."""
        g, sae, rows = self._g, self._sae, self._rows
        pre = self._affine(x, turn, sae.w_enc[:, rows], sae.b_enc[rows])
        activations = g.add("Relu", pre)
        if sae.threshold is None:
            return activations
        above = g.add("Greater", pre, g.constant("sae.threshold", sae.threshold[rows]))
        return g.add("Mul", activations, g.add("Cast", above, to=1))

    def _gated(self, x: str, turn: Array | None) -> str:
        g, sae, rows = self._g, self._sae, self._rows
        if sae.b_gate is None or sae.b_mag is None or sae.r_mag is None:
            raise ConfigError("a gated SAE needs b_gate, b_mag and r_mag")
        zeros = np.zeros(rows.size, np.float32)
        product = self._affine(x, turn, sae.w_enc[:, rows], zeros)
        gate = g.add(
            "Greater", g.add("Add", product, g.constant("sae.gate", sae.b_gate[rows])), g.constant("sae.zeros", zeros)
        )
        magnitude = g.add("Mul", product, g.constant("sae.gain", np.exp(sae.r_mag[rows])))
        magnitude = g.add("Relu", g.add("Add", magnitude, g.constant("sae.magnitude", sae.b_mag[rows])))
        return g.add("Mul", magnitude, g.add("Cast", gate, to=1))

    def _topk(self, x: str, turn: Array | None) -> tuple[str, str]:
        g, sae = self._g, self._sae
        scale = self._norms if sae.rescale_by_decoder_norm else np.ones(1, np.float32)
        # scaling by the decoder's norms before the choice is part of the SAE; folding them in afterwards is not
        pre = self._affine(x, turn, sae.w_enc * scale, sae.b_enc * scale)
        values, latents = g.add_many("TopK", [pre, g.integers(sae.k or 1)], 2, axis=-1, sorted=0)
        values = g.add("Relu", values)
        if self._fold:
            values = g.add("Mul", values, g.add("Gather", g.constant("sae.fold", self._norms), latents, axis=0))
        return values, latents

    def _usual(self, residual: str, max_norm: float | None) -> str | None:
        """1 for tokens whose residual stream is no longer than `max_norm`, else 0; [token, 1]."""
        if max_norm is None:
            return None
        g = self._g
        length = g.add("ReduceL2", residual, g.integers(-1), keepdims=1)
        massive = g.add("Greater", length, g.constant("sae.max_norm", np.array(max_norm, np.float32)))
        return g.add("Cast", g.add("Not", massive), to=1)

    def _masked(self, values: str, usual: str | None) -> str:
        return values if usual is None else self._g.add("Mul", values, usual)
