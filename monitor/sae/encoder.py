"""CuratedEncoder: the activations of a few chosen latents, computed with torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from monitor.sae.weights import Array, SaeWeights


class CuratedEncoder:
    """Encodes the residual stream into only the latents `indices` (see SaeWeights for the maths).

    The latents of a ReLU, JumpReLU or gated SAE don't depend on each other, so only the chosen rows are computed.
    Whether a latent of a TopK SAE is active depends on all others: for tokens on which a chosen latent could be active,
    the full pre-activations decide.
    """

    def __init__(
        self,
        weights: SaeWeights,
        indices: Sequence[int],
        basis: Literal["raw", "decoder_norm_folded"] = "raw",
        device: str | torch.device = "cpu",
    ) -> None:
        self._w = weights
        chosen = list(indices)
        rows = weights.rows_of(chosen)

        def tensor(array: Array) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device)

        def chosen_of(array: Array | None) -> Tensor | None:
            return None if array is None else tensor(array[rows])

        self._b_dec = tensor(weights.b_dec)
        self._w_enc = tensor(weights.w_enc[:, rows])  # [d, feature]
        self._b_enc = tensor(weights.b_enc[rows])  # [feature]
        self._threshold = chosen_of(weights.threshold)
        self._b_gate = chosen_of(weights.b_gate)
        self._b_mag = chosen_of(weights.b_mag)
        self._gain = None if weights.r_mag is None else tensor(np.exp(weights.r_mag[rows]))
        norms = weights.decoder_norm
        self._fold = chosen_of(weights.activation_scale(basis == "decoder_norm_folded"))
        if weights.architecture == "topk":
            scale: Array = norms if weights.needs_decoder_norm and norms is not None else np.ones(1, np.float32)
            self._full_w = tensor(weights.w_enc * scale)  # [d, s]
            self._full_b = tensor(weights.b_enc * scale)  # [s]
            column = np.full(weights.d_sae, len(chosen), dtype=np.int64)  # the last column collects all others
            column[rows] = np.arange(len(chosen))
            self._column = torch.from_numpy(column).to(device)
        self.features = len(chosen)
        self.device = torch.device(device)

    @torch.inference_mode()
    def __call__(self, residual: Tensor) -> Tensor:
        """Activations [token, feature] of `residual` [token, d], both float32; columns in the order of `indices`."""
        x = self._normalised(residual.float())  # [token, d]
        if self._w.subtract_b_dec:
            x = x - self._b_dec
        if self._w.architecture == "topk":
            acts = self._topk(x)
        elif self._gain is not None and self._b_mag is not None and self._b_gate is not None:  # gated
            product = x @ self._w_enc  # [token, feature]
            open_gate = product + self._b_gate > 0
            acts = torch.relu(product * self._gain + self._b_mag) * open_gate
        else:
            pre = self._preactivations(x)
            acts = torch.relu(pre)
            if self._threshold is not None:
                acts = acts * (pre > self._threshold)
        folded: Tensor = acts if self._fold is None else acts * self._fold
        return folded

    def _preactivations(self, x: Tensor) -> Tensor:
        return torch.addmm(self._b_enc, x, self._w_enc)  # [token, feature]

    def _normalised(self, x: Tensor) -> Tensor:
        if self._w.normalisation == "layer_norm":
            # eps stands outside the root and the deviation is the unbiased one, as in SAELens
            return (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-5)
        if self._w.normalisation == "constant_norm_rescale":
            return torch.nn.functional.normalize(x, dim=-1) * math.sqrt(self._w.d_in)
        return x

    def _topk(self, x: Tensor) -> Tensor:
        acts = x.new_zeros(x.shape[0], self.features)
        if self.features * 4 < self._w.d_sae:
            # no latent with pre <= 0 can be active, so with a small set most tokens need no full encoding
            candidates = (self._preactivations(x) > 0).any(dim=1).nonzero().squeeze(1)  # [candidate]
        else:
            candidates = torch.arange(x.shape[0], device=x.device)
        if candidates.numel() == 0:
            return acts
        pre = x[candidates] @ self._full_w + self._full_b  # [candidate, s]
        values, latents = pre.topk(self._w.k or 1, dim=1, sorted=False)
        found = x.new_zeros(candidates.numel(), self.features + 1)
        found.scatter_(1, self._column[latents], torch.relu(values))
        acts[candidates] = found[:, : self.features]
        return acts
