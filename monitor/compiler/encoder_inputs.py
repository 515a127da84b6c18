"""The encoder of an SAE and probes as inputs of a compiled graph, which is the same for all sets. Needs no onnx."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.compiler.quantise import quantise_columns
from monitor.errors import ConfigError
from monitor.readers.onnx.columns import OutputColumns
from monitor.readers.onnx.manifest import PrecisionName
from monitor.sae.weights import SaeWeights
from monitor.sets.probe import Probe, stacked

ENCODER = "sae.encoder"  # [d, latent], float32 or int8
ENCODER_UNITS = "sae.encoder.units"  # [latent], if the encoder is int8
ENCODER_BIAS = "sae.encoder.bias"  # [latent]
THRESHOLD = "sae.threshold"  # [latent], JumpReLU
FOLD = "sae.fold"  # [latent], if the activations are scaled: see SaeWeights.activation_scale
GATE = "sae.gate"  # [latent], gated, as are the next two
GAIN = "sae.gain"
MAGNITUDE = "sae.magnitude"
PROBES = "probes"  # [d, probe]
PROBE_OFFSETS = "probes.offset"  # [probe]
PROBE_NUMBERS = "probes.number"  # [1, probe], TopK: the numbers after the last latent

Array = NDArray[np.float32]


def quantised_encoder(precision: PrecisionName, rotated: bool) -> bool:
    """Whether a graph takes the encoder in int8.

    Without a rotation, a few channels are far larger than the rest, and int8 would lose all others.
    """
    return precision == "int8" and rotated


def encoder_columns(
    sae: SaeWeights,
    probes: Sequence[Probe],
    *,
    folded: bool,
    turn: Array | None,
    precision: PrecisionName,
    latents: Sequence[int] | None = None,
    suffix: str = "",
) -> OutputColumns:
    """The inputs for a graph whose columns are the latents of `sae` in order, followed by `probes`.

    `turn` is the rotation of the residual stream. A TopK SAE must have all its latents; the columns are then `latents`
    (default: all). `suffix` ends the names of inputs and outputs, see `add_encoder`. See SaeWeights for the maths.
    """
    scale = sae.activation_scale(folded)
    norms = sae.decoder_norm if sae.decoder_norm is not None else np.ones(sae.rows, np.float32)
    # a norm over channels needs the stream as the model has it, so the graph turns it back by itself
    encoder_turn = None if sae.normalisation == "layer_norm" else turn
    weight, bias = sae.w_enc, sae.b_enc
    if sae.architecture == "topk" and sae.needs_decoder_norm:
        # scaling by the decoder's norms before the choice is part of the SAE; folding them in afterwards is not
        weight, bias = weight * norms, bias * norms
    if sae.architecture == "gated":
        bias = np.zeros(sae.rows, np.float32)
    if sae.subtract_b_dec:
        bias = bias - sae.b_dec @ weight
    if encoder_turn is not None:
        weight = encoder_turn.T @ weight
    inputs: dict[str, NDArray[Any]] = {ENCODER_BIAS: bias.astype(np.float32)}
    if quantised_encoder(precision, turn is not None):
        inputs[ENCODER], inputs[ENCODER_UNITS] = quantise_columns(weight)
    else:
        inputs[ENCODER] = np.ascontiguousarray(weight)
    if sae.architecture == "gated":
        if sae.b_gate is None or sae.b_mag is None or sae.r_mag is None:
            raise ConfigError("a gated SAE needs b_gate, b_mag and r_mag")
        inputs |= {GATE: sae.b_gate, GAIN: np.exp(sae.r_mag), MAGNITUDE: sae.b_mag}
    elif sae.threshold is not None:
        inputs[THRESHOLD] = sae.threshold
    if scale is not None:
        inputs[FOLD] = scale
    directions, offsets = stacked(probes, sae.d_in)
    inputs |= {PROBES: directions if turn is None else turn.T @ directions, PROBE_OFFSETS: offsets}
    if sae.architecture != "topk":
        return OutputColumns(_named(inputs, suffix), sae.rows + len(probes), suffix=suffix)
    inputs[PROBE_NUMBERS] = np.arange(sae.rows, sae.rows + len(probes), dtype=np.int64)[None]
    wanted = np.arange(sae.rows) if latents is None else np.array(latents, np.int64)
    features = wanted.size + len(probes)
    column = np.full(sae.rows + len(probes), features, dtype=np.int32)
    column[wanted] = np.arange(wanted.size)
    column[sae.rows :] = np.arange(wanted.size, features)
    return OutputColumns(_named(inputs, suffix), features, column, suffix)


def _named(inputs: Mapping[str, NDArray[Any]], suffix: str) -> dict[str, NDArray[Any]]:
    return {name + suffix: values for name, values in inputs.items()}


def hook_suffix(hook: int) -> str:
    """What names of a graph's inputs and outputs end with at a hook point; the deepest has the plain names."""
    return f".{hook}" if hook else ""
