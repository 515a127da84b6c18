"""FrozenModel: base of every part of a feature set, with the number and hash types that they share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Float32 = Annotated[float, Field(allow_inf_nan=False, ge=-3.4e38, le=3.4e38)]
"""Activations are multiplied and compared in float32, in which a larger number would be infinite."""
ActivationBasis = Literal["raw", "decoder_norm_folded"]
"""raw: the encoder's own output. decoder_norm_folded: multiplied by the norm of the latent's decoder row."""


class FrozenModel(BaseModel):
    """Data that never changes and refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)
