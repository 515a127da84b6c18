"""The sparse forward pass against sae-lens's own: same loss, same gradients, same activations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from monitor.lab.sae_training.sparse_step import SparseBatchTopKTrainingSAE, SparseTopKTrainingSAE, TrainStepInput, saes

D, S = 48, 300
PAIRS = {
    "topk": (SparseTopKTrainingSAE, saes.TopKTrainingSAE, saes.TopKTrainingSAEConfig),
    "batchtopk": (SparseBatchTopKTrainingSAE, saes.BatchTopKTrainingSAE, saes.BatchTopKTrainingSAEConfig),
}


def step(sae: Any, x: Tensor, dead: Tensor | None) -> Any:
    output = sae.training_forward_pass(
        TrainStepInput(sae_in=x, coefficients={}, dead_neuron_mask=dead, n_training_steps=0, is_logging_step=False)
    )
    output.loss.backward()
    return output


@pytest.mark.parametrize("bias", [0.0, -60.0], ids=["usual", "fewer than k positive"])
@pytest.mark.parametrize("dead_share", [0.0, 0.03, 0.4])
@pytest.mark.parametrize("rescale", [True, False])
@pytest.mark.parametrize("kind", PAIRS)
def test_equals_sae_lens(kind: str, rescale: bool, dead_share: float, bias: float) -> None:
    ours_class, theirs_class, config = PAIRS[kind]
    source = torch.Generator().manual_seed(0)
    theirs = theirs_class(config(d_in=D, d_sae=S, k=12, rescale_acts_by_decoder_norm=rescale))
    with torch.no_grad():
        theirs.W_enc.copy_(torch.randn(D, S, generator=source))
        theirs.W_dec.copy_(torch.randn(S, D, generator=source) * torch.rand(S, 1, generator=source))
        theirs.b_enc.copy_(torch.randn(S, generator=source) + bias / 4)
        theirs.b_dec.copy_(torch.randn(D, generator=source))
    ours = ours_class(config(d_in=D, d_sae=S, k=12, rescale_acts_by_decoder_norm=rescale))
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(64, D, generator=source)
    dead = torch.rand(S, generator=source) < dead_share if dead_share else None
    expected, found = step(theirs, x, dead), step(ours, x, dead)
    torch.testing.assert_close(found.loss, expected.loss)
    torch.testing.assert_close(found.feature_acts.to_dense(), expected.feature_acts, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found.sae_out, expected.sae_out, rtol=1e-4, atol=1e-4)
    for name, weight in theirs.named_parameters():
        mine = dict(ours.named_parameters())[name].grad
        torch.testing.assert_close(mine, weight.grad, rtol=1e-3, atol=1e-4 * float(weight.grad.abs().max()), msg=name)
    if kind == "batchtopk":
        torch.testing.assert_close(ours.topk_threshold, theirs.topk_threshold)


@pytest.mark.parametrize("kind", PAIRS)
def test_bfloat16_products_stay_close(kind: str) -> None:
    ours_class, _, config = PAIRS[kind]
    torch.manual_seed(1)
    sae = ours_class(config(d_in=D, d_sae=S, k=12))
    x = torch.randn(64, D)
    exact = step(sae, x, torch.ones(S, dtype=torch.bool)).loss.detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = step(sae, x, torch.ones(S, dtype=torch.bool)).loss.detach()
    torch.testing.assert_close(rounded.float(), exact, rtol=0.03, atol=0)
