"""TopK and BatchTopK training SAEs of sae-lens, with a forward pass that computes only active latents.

Loss and gradients are those of sae-lens, which multiplies by zeros for every inactive latent. Here, only the dense
product [token, d] x [d, s] that finds the active latents remains. docs/decisions/0006 has the figures.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # sae-lens imports a module that transformer-lens renamed
    from sae_lens import saes
    from sae_lens.saes.sae import TrainStepInput, TrainStepOutput

_STRIDE = 41
_PAIRS_AT_ONCE = 1_024  # small enough that the gathered rows stay in the CPU cache


@dataclass(frozen=True)
class Pattern:
    """Which latents are active: pairs of `rows` and `latents` [pair] in a matrix [token, s], sorted by row."""

    rows: Tensor
    latents: Tensor
    tokens: int
    width: int

    def times(self, values: Tensor, dense: Tensor) -> Tensor:
        """The sparse matrix of `values` [pair] times `dense` [s, d]: [token, d]."""
        return _csr(self.rows, self.latents, values, self.tokens, self.width) @ dense

    def transposed_times(self, values: Tensor, dense: Tensor) -> Tensor:
        """The transposed sparse matrix of `values` [pair] times `dense` [token, d]: [s, d]."""
        order = self.latents.argsort(stable=True)
        return _csr(self.latents[order], self.rows[order], values[order], self.width, self.tokens) @ dense

    def products(self, left: Tensor, right: Tensor) -> Tensor:
        """The dot product [pair] of each pair's row of `left` [token, d] and latent of `right` [s, d]."""
        parts = zip(torch.split(self.rows, _PAIRS_AT_ONCE), torch.split(self.latents, _PAIRS_AT_ONCE), strict=True)
        return torch.cat(
            [torch.linalg.vecdot(left.index_select(0, rows), right.index_select(0, latents)) for rows, latents in parts]
        )


def _csr(rows: Tensor, columns: Tensor, values: Tensor, height: int, width: int) -> Tensor:
    starts = torch.zeros(height + 1, dtype=torch.int64, device=rows.device)
    starts[1:] = torch.bincount(rows, minlength=height).cumsum(0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
        return torch.sparse_csr_tensor(starts, columns, values, (height, width), check_invariants=False)


class _Autoencode(torch.autograd.Function):
    """max(x @ w_enc + b_enc, 0) @ w_dec over only the pairs of a pattern; also returns the activations [pair]."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w_enc: Tensor, b_enc: Tensor, w_dec: Tensor, pattern: Pattern
    ) -> tuple[Tensor, Tensor]:
        acts = torch.relu(pattern.products(x, w_enc.T.contiguous()) + b_enc[pattern.latents])
        ctx.save_for_backward(x, w_enc, w_dec, acts)
        ctx.pattern = pattern
        ctx.mark_non_differentiable(acts)
        return pattern.times(acts, w_dec), acts

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        x, w_enc, w_dec, acts = ctx.saved_tensors
        pattern: Pattern = ctx.pattern
        grad = grads[0].contiguous()  # [token, d]
        with torch.autocast(grad.device.type, enabled=False):
            inner = pattern.products(grad, w_dec) * (acts > 0)  # [pair]
            bias = torch.zeros(pattern.width, dtype=inner.dtype, device=inner.device)
            return (
                pattern.times(inner, w_enc.T.contiguous()),
                pattern.transposed_times(inner, x).T.contiguous(),
                bias.index_add_(0, pattern.latents, inner),
                pattern.transposed_times(acts, grad),
                None,
            )


_autoencode: Any = _Autoencode.apply  # torch leaves it untyped


def _forward(sae: Any, step: Any, choose: Any) -> Any:
    """sae-lens's training_forward_pass; `choose` finds the pattern in the rescaled pre-activations [token, s]."""
    x = sae.process_sae_in(step.sae_in)  # [token, d]
    norm = sae.W_dec.detach().norm(dim=1)  # [s]
    with torch.no_grad():
        gain = norm if sae.cfg.rescale_acts_by_decoder_norm else torch.ones_like(norm)
        pre = torch.addmm(sae.b_enc * gain, x, sae.W_enc * gain)  # [token, s]
        pattern: Pattern = choose(pre)
    with torch.autocast(x.device.type, enabled=False):
        decoded, acts = _autoencode(x, sae.W_enc, sae.b_enc, sae.W_dec, pattern)
        acts = acts * gain[pattern.latents]  # decoding divides by the norm again, so it only shows in these values
        out = decoded + sae.b_dec
        mse = sae.mse_loss_fn(out, step.sae_in).sum(dim=-1).mean()
    aux = _revival_loss(sae, step, x, out)
    return TrainStepOutput(
        sae_in=step.sae_in,
        sae_out=out,
        feature_acts=torch.sparse_coo_tensor(
            torch.stack([pattern.rows, pattern.latents]),
            acts,
            (pattern.tokens, pattern.width),
            is_coalesced=True,
            check_invariants=False,
        ),
        hidden_pre=pre,
        loss=mse + aux,
        losses={"mse_loss": mse, "auxiliary_reconstruction_loss": aux},
    )


def _revival_loss(sae: Any, step: Any, x: Tensor, out: Tensor) -> Tensor:
    """sae-lens's calculate_topk_aux_loss, over only the columns of the dead latents (Gao et al. 2024, A.2)."""
    mask = step.dead_neuron_mask
    if mask is None or not bool(mask.any()):
        return out.new_tensor(0.0)
    dead = mask.nonzero().squeeze(1)
    w_dec = sae.W_dec[dead]  # [dead, d]
    pre = x @ sae.W_enc[:, dead] + sae.b_enc[dead]  # [token, dead]
    scaled = pre * w_dec.norm(dim=1) if sae.cfg.rescale_acts_by_decoder_norm else pre
    aim = x.shape[1] // 2
    chosen = scaled.topk(min(aim, dead.numel()), dim=1, sorted=False).indices
    acts = torch.zeros_like(pre).scatter(1, chosen, pre.gather(1, chosen))
    loss: Tensor = (acts @ w_dec - (step.sae_in - out).detach()).pow(2).sum(dim=-1).mean()
    return loss * float(sae.cfg.aux_loss_coefficient * min(dead.numel() / aim, 1.0))


def _largest_of_rows(pre: Tensor, k: int) -> Pattern:
    latents = pre.topk(k, dim=1, sorted=False).indices  # [token, k]
    rows = torch.arange(pre.shape[0], device=pre.device).repeat_interleave(k)
    return Pattern(rows, latents.flatten(), *pre.shape)


def _largest_of_batch(pre: Tensor, count: int) -> Pattern:
    """The `count` largest positive entries, searched only above a bound that a sample of the entries gives."""
    flat = pre.flatten()
    sample = flat[::_STRIDE]
    bound = sample.topk(min(count // _STRIDE * 5 // 4 + 64, sample.numel()), sorted=False).values.min().clamp(min=0)
    places = (flat > bound).nonzero().squeeze(1)
    if places.numel() < count:
        places = (flat > 0).nonzero().squeeze(1)
    if places.numel() > count:
        places = places[flat[places].topk(count, sorted=False).indices].sort().values
    return Pattern(places // pre.shape[1], places % pre.shape[1], *pre.shape)


class SparseTopKTrainingSAE(saes.TopKTrainingSAE):  # type: ignore[misc]
    """sae-lens's TopKTrainingSAE, trained faster."""

    def training_forward_pass(self, step_input: TrainStepInput) -> TrainStepOutput:
        """Loss, reconstruction and activations (sparse COO) of one batch [token, d]."""
        return _forward(self, step_input, lambda pre: _largest_of_rows(pre, self.cfg.k))


class SparseBatchTopKTrainingSAE(saes.BatchTopKTrainingSAE):  # type: ignore[misc]
    """sae-lens's BatchTopKTrainingSAE, trained faster."""

    def training_forward_pass(self, step_input: TrainStepInput) -> TrainStepOutput:
        """Loss, reconstruction and activations (sparse COO) of one batch [token, d]; moves the threshold."""
        count = int(self.cfg.k * step_input.sae_in.shape[0])
        output = _forward(self, step_input, lambda pre: _largest_of_batch(pre, count))
        self.update_topk_threshold(output.feature_acts.values())
        output.metrics["topk_threshold"] = self.topk_threshold
        return output
