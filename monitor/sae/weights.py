"""SaeWeights: a sparse autoencoder in the one form that all readers know, whatever format it came in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from monitor.errors import ConfigError
from monitor.sae.origin import SaeOrigin

Architecture = Literal["relu", "jumprelu", "gated", "topk"]
Normalisation = Literal["none", "layer_norm", "constant_norm_rescale"]
Array = NDArray[np.float32]
BY_LATENT = ("b_enc", "threshold", "b_gate", "b_mag", "r_mag", "decoder_norm")
"""The fields that have one number for each latent."""


@dataclass(frozen=True)
class SaeWeights:
    """Everything that an encoder needs; d = width of the hook point, s = number of latents that are here.

    With x' = normalise(x) - b_dec (the subtraction only under `subtract_b_dec`) and pre = x' @ w_enc + b_enc:

        relu      max(pre, 0)
        jumprelu  max(pre, 0) where pre > threshold, else 0
        gated     max(x' @ (w_enc * exp(r_mag)) + b_mag, 0) where x' @ w_enc + b_gate > 0, else 0
        topk      max(pre, 0) where pre is one of the token's k largest, else 0; under `rescale_by_decoder_norm`,
                  pre is first multiplied by the norm of its decoder row; under `rank_by_decoder_norm`, only the ranking
                  uses that product

    These are the activations a in the basis `raw`; the basis `decoder_norm_folded` is a times the norm of the decoder
    row. The normalisations, with mean m, unbiased standard deviation v and length |x| of one token's x:

        none                    x
        layer_norm              (x - m) / (v + 1e-5)
        constant_norm_rescale   x * sqrt(d) / |x|

    If the input was scaled by one fixed factor f in training, the loader folds it in (`input_scaled`), so that a
    reader has no factor to forget. The reconstruction of an SAE that was trained to reproduce its input, to be scaled
    back by what the normalisation did, is a @ w_dec + b_dec, with decoder rows of unit length under
    `rescale_by_decoder_norm`.

    Sources: Rajamanoharan et al. 2024 (gated, JumpReLU), Gao et al. 2024 (TopK), SAELens 6 (`standard_sae.py`,
    `jumprelu_sae.py`, `gated_sae.py`, `topk_sae.py`), lm-saes 2 (`sparse_dictionary.py`, ranking by decoder norm).
    """

    architecture: Architecture
    w_enc: Array  # [d, s]
    b_enc: Array  # [s]; zeros for gated
    b_dec: Array  # [d]; of a transcoder [d_out]
    subtract_b_dec: bool
    normalisation: Normalisation = "none"
    threshold: Array | None = None  # [s], jumprelu
    b_gate: Array | None = None  # [s], gated
    b_mag: Array | None = None  # [s], gated
    r_mag: Array | None = None  # [s], gated
    k: int | None = None  # topk
    decoder_norm: Array | None = None  # [s]; needed for folding and rescaling
    rescale_by_decoder_norm: bool = False
    rank_by_decoder_norm: bool = False
    transcoder: bool = False  # trained to give another activation than the one that it reads
    w_dec: Array | None = None  # [s, d], of a transcoder [s, d_out]; None in readers, which don't reconstruct
    origin: SaeOrigin | None = None  # None if a format doesn't tell
    latents: NDArray[np.int64] | None = None  # [s], ascending: which latents are here; None if all are
    width: int | None = None  # latents of the whole SAE, if only some are here

    @property
    def d_in(self) -> int:
        """Width of the residual stream."""
        return int(self.w_enc.shape[0])

    @property
    def d_sae(self) -> int:
        """Number of latents of the SAE, whether or not they are all here."""
        return self.rows if self.width is None else self.width

    @property
    def rows(self) -> int:
        """Number of latents that are here."""
        return int(self.w_enc.shape[1])

    @property
    def numbers(self) -> NDArray[np.int64]:
        """Which latents are here [s]."""
        return np.arange(self.rows) if self.latents is None else self.latents

    def rows_of(self, indices: Sequence[int]) -> NDArray[np.int64]:
        """Where the latents `indices` stand. Raises ConfigError if one is outside the SAE or not here."""
        outside = [i for i in indices if not 0 <= i < self.d_sae]
        if outside:
            raise ConfigError(f"feature index {outside[0]} is outside the SAE's {self.d_sae} latents")
        wanted = np.array(list(indices), dtype=np.int64)
        if self.latents is None:
            return wanted
        places = np.minimum(np.searchsorted(self.latents, wanted), self.rows - 1)
        missing = wanted[self.latents[places] != wanted]
        if missing.size:
            raise ConfigError(
                f"feature index {missing[0]} is not among the {self.rows} latents that this SAE was cut down to; "
                "convert the whole SAE again, with that latent"
            )
        return places

    def cut_down(self, indices: Sequence[int]) -> SaeWeights:
        """Only the latents `indices`. Raises ConfigError for a TopK SAE, and if one is not here."""
        if self.architecture == "topk":
            raise ConfigError("all latents of a TopK SAE decide which are active, so none can be left out")
        kept = sorted(set(indices))
        rows = self.rows_of(kept)
        arrays = {name: getattr(self, name) for name in (*BY_LATENT, "w_dec")}
        chosen: dict[str, Any] = {name: None if array is None else array[rows] for name, array in arrays.items()}
        width, numbers = self.d_sae, np.array(kept, np.int64)
        return replace(self, w_enc=self.w_enc[:, rows], latents=numbers, width=width, **chosen)

    @property
    def needs_decoder_norm(self) -> bool:
        """Whether the encoder itself needs the norms of the decoder rows, in any activation basis."""
        return self.rescale_by_decoder_norm or self.rank_by_decoder_norm

    def activation_scale(self, folded: bool) -> Array | None:
        """What the activations are multiplied by at the end [s], in the folded basis or not; None if by nothing.

        Raises ConfigError if that needs decoder norms that the SAE doesn't have.
        """
        if self.decoder_norm is None:
            if folded or self.needs_decoder_norm:
                raise ConfigError("the SAE has no decoder, whose norms the activation basis needs")
            return None
        if not self.rank_by_decoder_norm:
            return self.decoder_norm if folded else None
        # the ranking has multiplied them by the norms
        inverse: Array = (1 / np.maximum(self.decoder_norm, 1e-12)).astype(np.float32)
        return None if folded else inverse

    def without_decoder(self) -> SaeWeights:
        """What a reader needs, which is about half."""
        return replace(self, w_dec=None)


def input_scaled(sae: SaeWeights, factor: float) -> SaeWeights:
    """`sae`, which encodes x * `factor`, as one that encodes x itself, with the same activations.

    As (f x - b) W = (x - b / f)(f W), the encoder takes the factor, and the decoder its inverse.
    """
    scale = np.float32(factor)
    w_dec = None if sae.w_dec is None else sae.w_dec / scale
    norm = None if sae.decoder_norm is None else sae.decoder_norm / scale
    return replace(sae, w_enc=sae.w_enc * scale, b_dec=sae.b_dec / scale, w_dec=w_dec, decoder_norm=norm)
