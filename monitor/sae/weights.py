"""SaeWeights: the encoder half of a sparse autoencoder, whatever format it came in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Architecture = Literal["relu", "jumprelu", "gated", "topk"]
Normalisation = Literal["none", "layer_norm", "constant_norm_rescale"]
Array = NDArray[np.float32]


@dataclass(frozen=True)
class SaeWeights:
    """Everything that an encoder needs; d = width of the residual stream, s = number of latents.

    With x' = normalise(x) - b_dec (the subtraction only under `subtract_b_dec`) and pre = x' @ w_enc + b_enc:

        relu      max(pre, 0)
        jumprelu  max(pre, 0) where pre > threshold, else 0
        gated     max(x' @ (w_enc * exp(r_mag)) + b_mag, 0) where x' @ w_enc + b_gate > 0, else 0
        topk      max(pre, 0) where pre is one of the token's k largest, else 0; under `rescale_by_decoder_norm`,
                  pre is first multiplied by the norm of its decoder row

    Sources: Rajamanoharan et al. 2024 (gated, JumpReLU), Gao et al. 2024 (TopK), SAELens 6 (`standard_sae.py`,
    `jumprelu_sae.py`, `gated_sae.py`, `topk_sae.py`).
    """

    architecture: Architecture
    w_enc: Array  # [d, s]
    b_enc: Array  # [s]; zeros for gated
    b_dec: Array  # [d]
    subtract_b_dec: bool
    normalisation: Normalisation = "none"
    threshold: Array | None = None  # [s], jumprelu
    b_gate: Array | None = None  # [s], gated
    b_mag: Array | None = None  # [s], gated
    r_mag: Array | None = None  # [s], gated
    k: int | None = None  # topk
    decoder_norm: Array | None = None  # [s]; needed for folding and rescaling
    rescale_by_decoder_norm: bool = False

    @property
    def d_in(self) -> int:
        """Width of the residual stream."""
        return int(self.w_enc.shape[0])

    @property
    def d_sae(self) -> int:
        """Number of latents."""
        return int(self.w_enc.shape[1])
