"""SaeFigures: FVU, active latents per token, and latents that are never active."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monitor.errors import ConfigError
from monitor.sae.encoder import CuratedEncoder
from monitor.sae.sae_format import open_sae

_AT_ONCE = 1_024


class WholeSae:
    """Encoder and decoder of an SAE on disk. The encoder is the runtime's own, with all latents."""

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        """`folder` is in any built-in format. Raises ConfigError if it can't be used, or reproduces no input."""
        weights = open_sae(folder)
        if weights.transcoder or weights.w_dec is None:
            raise ConfigError(f"{folder}: only an SAE that reproduces its input can be measured, not a transcoder")
        self._encoder = CuratedEncoder(weights, range(weights.d_sae), device=device)
        self._normalisation = weights.normalisation
        decoder = weights.w_dec
        if weights.rescale_by_decoder_norm and weights.decoder_norm is not None:
            # activations are in units of the rescaled pre-activations, so the decoder rows must be unit vectors
            decoder = (decoder / np.maximum(weights.decoder_norm, 1e-12)[:, None]).astype(np.float32)
        self._decoder = torch.from_numpy(decoder).to(device)  # [s, d]
        self._bias = torch.from_numpy(weights.b_dec).to(device)
        self.d_in, self.d_sae = weights.d_in, weights.d_sae
        self.device = self._encoder.device

    def encode(self, residual: Tensor) -> Tensor:
        """Activations [token, s] of `residual` [token, d]."""
        return self._encoder(residual.to(self.device))

    def decode(self, latents: Tensor, residual: Tensor) -> Tensor:
        """The reconstruction [token, d] of `residual` [token, d] from its `latents` [token, s]."""
        found: Tensor = latents @ self._decoder + self._bias
        x = residual.to(self.device)
        if self._normalisation == "layer_norm":
            found = found * x.std(-1, keepdim=True) + x.mean(-1, keepdim=True)
        if self._normalisation == "constant_norm_rescale":
            found = found * x.norm(dim=-1, keepdim=True) / math.sqrt(self.d_in)
        return found

    def reconstruct(self, residual: Tensor) -> Tensor:
        """The reconstruction [token, d] of `residual` [token, d], in the same dtype."""
        parts = [self.decode(self.encode(part), part.float()) for part in torch.split(residual, _AT_ONCE)]
        return torch.cat(parts).to(residual.dtype)


class SaeFigures:
    """Accumulates the figures over any number of tokens."""

    def __init__(self, sae: WholeSae) -> None:
        self._sae = sae
        self._tokens = 0
        self._active = torch.zeros(sae.d_sae, dtype=torch.float64)
        self._unexplained = 0.0
        self._squares = 0.0
        self._sum = torch.zeros(sae.d_in, dtype=torch.float64)

    @torch.inference_mode()
    def add(self, residual: Tensor) -> None:
        """Adds the tokens of `residual` [token, d]."""
        for part in torch.split(residual.float(), _AT_ONCE):
            latents = self._sae.encode(part)
            rest = part.to(self._sae.device) - self._sae.decode(latents, part)
            self._tokens += part.shape[0]
            self._active += (latents > 0).sum(dim=0).cpu()
            self._unexplained += float((rest.double() ** 2).sum())
            self._squares += float((part.double() ** 2).sum())
            self._sum += part.double().sum(dim=0)

    @property
    def mean(self) -> Tensor:
        """The mean residual [d] of all tokens added."""
        return (self._sum / max(self._tokens, 1)).float()

    def result(self) -> dict[str, Any]:
        """FVU (unexplained share of the variance about the mean), L0 (active latents per token), latents never active.

        FVU and L0 are None if no token was added.
        """
        variance = self._squares - float((self._sum**2).sum()) / max(self._tokens, 1)
        never = int((self._active == 0).sum())
        return {
            "tokens": self._tokens,
            "fvu": self._unexplained / variance if variance > 0 else None,
            "l0": float(self._active.sum()) / self._tokens if self._tokens else None,
            "never_active": never,
            "never_active_share": never / self._sae.d_sae,
        }


def measure(sae: WholeSae, chunks: Iterable[Tensor], tokens: int | None = None) -> SaeFigures:
    """Figures over `chunks` [token, d], or over their first `tokens` tokens."""
    figures = SaeFigures(sae)
    left = math.inf if tokens is None else tokens
    for chunk in chunks:
        part = chunk if chunk.shape[0] <= left else chunk[: int(left)]
        figures.add(part)
        left -= part.shape[0]
        if left <= 0:
            break
    return figures
