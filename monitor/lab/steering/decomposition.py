"""Decomposition: a few latents of an SAE taken out of the residual stream, and everything else kept as it is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from monitor.errors import ConfigError
from monitor.lab.reading.hook import Hook
from monitor.sae.encoder import CuratedEncoder
from monitor.sae.weights import SaeWeights


class Decomposition:
    """x = sum over chosen latents of a_i d_i + rest, for activations x [token, d] at the hook point.

    The rest holds the other latents, the SAE's b_dec and its error. So an SAE that is far from perfect changes nothing
    but the latents that are meant: with reconstruction r(a) and error x - r(a), setting a_i to v gives
    r(a') + error = x + (v - a_i) d_i. Activations are in the basis of the hook.

    Source: Templeton et al. 2024, "Scaling Monosemanticity", on how features are clamped.
    """

    def __init__(self, hook: Hook, latents: Sequence[int], device: str | torch.device = "cpu") -> None:
        """Raises ConfigError if the SAE has no decoder at this hook point, or doesn't have one of the latents."""
        self.latents = tuple(latents)
        basis = hook.reader.sae.activation_basis
        self._encoder = CuratedEncoder(hook.sae, self.latents, basis, device)
        rows = hook.decoder_rows(self.latents)
        if rows is None:
            raise ConfigError(f"{hook.sae_folder}: the SAE has no decoder at its hook point, so no feature can be set")
        self.rows = _per_activation(rows.float(), hook.sae, self.latents, basis == "decoder_norm_folded").to(device)
        """[latent, d] What one unit of activation adds to the residual stream, before `scale`."""
        self._normalisation = hook.sae.normalisation

    def activations(self, residual: Tensor) -> Tensor:
        """[token, latent] of `residual` [token, d]."""
        found: Tensor = self._encoder(residual)
        return found

    def scale(self, residual: Tensor) -> Tensor:
        """[token, 1] What the SAE's normalisation divided each token by."""
        x = residual.float()
        divided = x.new_ones(x.shape[0], 1)
        if self._normalisation == "layer_norm":
            divided = x.std(-1, keepdim=True) + 1e-5
        elif self._normalisation == "constant_norm_rescale":
            divided = torch.linalg.vector_norm(x, dim=-1, keepdim=True) / math.sqrt(x.shape[-1])
        return divided


def _per_activation(rows: Tensor, sae: SaeWeights, latents: Sequence[int], folded: bool) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    if sae.rescale_by_decoder_norm:
        rows = torch.nn.functional.normalize(rows, dim=1)
    if not folded:
        return rows
    if sae.decoder_norm is not None:
        norms = torch.from_numpy(np.ascontiguousarray(sae.decoder_norm[sae.rows_of(latents)]))[:, None]
    per_unit: Tensor = rows / norms
    return per_unit
