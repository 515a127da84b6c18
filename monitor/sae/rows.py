"""EncoderRows: the rows of an SAE's encoder and the probes that sets use, computed with numpy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.feature_set import ReaderRef
from monitor.errors import ConfigError
from monitor.sae.weights import Architecture, Array, Normalisation, SaeWeights
from monitor.sets.probe import Probe, stacked

_PART_TOKENS = 1_024
"""Tokens that are encoded at a time; a TopK SAE needs all its latents for each of them."""


@dataclass(frozen=True)
class RowsInfo:
    """What rows are of, and in which order they stand: first the latents, then the probes by their hashes."""

    model: str
    model_sha256: str
    layer: int
    hook: str
    sae_sha256: str
    activation_basis: str
    max_norm: float | None
    latents: tuple[int, ...]
    probes: tuple[str, ...]

    @classmethod
    def of(cls, ref: ReaderRef, latents: Sequence[int], probes: Sequence[str]) -> RowsInfo:
        """The rows `latents` and `probes` at the hook point of `ref`."""
        sae = ref.sae
        names = (ref.model, ref.model_sha256, ref.layer, ref.hook, sae.sha256, sae.activation_basis, ref.max_norm)
        return cls(*names, tuple(latents), tuple(probes))

    @property
    def names(self) -> tuple[int | str, ...]:
        """The rows in order, as FeatureSet.columns names them."""
        return (*self.latents, *self.probes)

    def sha256(self) -> str:
        """Names the rows by what they are. Their bytes differ by rounding from machine to machine."""
        facts = {key: value for key, value in vars(self).items() if key != "model"}  # a name may be spelt differently
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class EncoderRows:
    """With z = normalise(x), the products of the rows are z @ `weight` + `bias` for latents, b_dec folded in, and
    x @ `directions` + `offsets` for probes. See SaeWeights for the rest of the maths.

    A TopK SAE has all its latents in `weight`, because they decide together which are active; `places` are the rows of
    the latents that sets use.
    """

    architecture: Architecture
    normalisation: Normalisation
    weight: Array  # [d, latent]
    bias: Array  # [latent]
    directions: Array  # [d, probe]
    offsets: Array  # [probe]
    places: NDArray[np.int64]
    max_norm: float | None = None
    threshold: Array | None = None  # [latent], jumprelu
    gate: Array | None = None  # [latent], gated, as are the next two
    gain: Array | None = None
    magnitude: Array | None = None
    scale: Array | None = None  # [latent], if activations are scaled at the end
    k: int | None = None  # topk

    @classmethod
    def of(cls, sae: SaeWeights, latents: Sequence[int], probes: Sequence[Probe], ref: ReaderRef) -> EncoderRows:
        """The rows `latents` and `probes`. Raises ConfigError if the SAE lacks a latent or norms that it needs."""
        places = sae.rows_of(list(latents))
        rows: Any = slice(None) if sae.architecture == "topk" else places

        def chosen(array: Array | None) -> Array | None:
            return None if array is None else array[rows]

        weight, bias = sae.w_enc[:, rows], sae.b_enc[rows]
        if sae.architecture == "topk" and sae.needs_decoder_norm and sae.decoder_norm is not None:
            weight, bias = weight * sae.decoder_norm, bias * sae.decoder_norm
        if sae.architecture == "gated":
            bias = np.zeros(places.size, np.float32)
        if sae.subtract_b_dec:
            bias = bias - sae.b_dec @ weight
        directions, offsets = stacked(probes, sae.d_in)
        r_mag = chosen(sae.r_mag)
        return cls(
            sae.architecture,
            sae.normalisation,
            np.ascontiguousarray(weight),
            bias.astype(np.float32),
            directions,
            offsets,
            places if sae.architecture == "topk" else np.arange(places.size),
            ref.max_norm,
            chosen(sae.threshold),
            chosen(sae.b_gate),
            None if r_mag is None else np.exp(r_mag),
            chosen(sae.b_mag),
            chosen(sae.activation_scale(ref.sae.activation_basis == "decoder_norm_folded")),
            sae.k,
        )

    @property
    def d(self) -> int:
        """Width of the hook point."""
        return int(self.weight.shape[0])

    def of_hidden_states(self, residual: Array) -> Array:
        """Activations [token, latent + probe] of the hook point [token, d]."""
        parts = [residual[n : n + _PART_TOKENS] for n in range(0, residual.shape[0], _PART_TOKENS)]
        return np.concatenate([self._of_part(part) for part in parts])

    def _of_part(self, x: Array) -> Array:
        products = self._normalised(x) @ self.weight + self.bias  # [token, latent]
        return self._activations(products, x @ self.directions + self.offsets, np.linalg.norm(x, axis=1))

    def of_products(self, products: Array, norms: Array | None) -> Array:
        """Activations from products [token, latent + probe], which a server made with these rows.

        `norms` [token] are the lengths of the hook point, if there is a largest one. Raises ConfigError for a TopK SAE.
        """
        if self.architecture == "topk":
            raise ConfigError("all latents of a TopK SAE decide which are active, so a few products don't tell")
        latents = self.bias.size
        return self._activations(products[:, :latents], products[:, latents:], norms)

    def _activations(self, pre: Array, projections: Array, norms: Array | None) -> Array:
        found = np.concatenate([self._latents(pre), projections], axis=1).astype(np.float32)
        if self.max_norm is not None and norms is not None:
            found[norms > self.max_norm] = 0  # massive activations: see ReaderRef.max_norm
        return found

    def _latents(self, pre: Array) -> Array:
        acts = np.maximum(pre, 0)
        if self.architecture == "topk":
            kept = np.zeros_like(acts)
            top = np.argpartition(pre, -(self.k or 1), axis=1)[:, -(self.k or 1) :]
            np.put_along_axis(kept, top, np.take_along_axis(acts, top, axis=1), axis=1)
            acts = kept
        elif self.gate is not None and self.gain is not None and self.magnitude is not None:
            acts = np.maximum(pre * self.gain + self.magnitude, 0) * (pre + self.gate > 0)
        elif self.threshold is not None:
            acts = acts * (pre > self.threshold)
        if self.scale is not None:
            acts = acts * self.scale
        return acts[:, self.places]

    def _normalised(self, x: Array) -> Array:
        if self.normalisation == "layer_norm":
            deviation = x.std(axis=1, ddof=1, keepdims=True) + 1e-5
            return np.asarray((x - x.mean(axis=1, keepdims=True)) / deviation, np.float32)
        if self.normalisation == "constant_norm_rescale":
            length = np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
            return np.asarray(x / length * np.sqrt(self.d), np.float32)
        return x
