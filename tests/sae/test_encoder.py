"""CuratedEncoder against sae-lens: every architecture, normalisation and bias that load_saelens reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from monitor.errors import ConfigError
from monitor.sae.encoder import CuratedEncoder
from monitor.sae.formats.saelens import load_saelens
from monitor.sae.weights import SaeWeights
from tests.saelens import edit_cfg, reference, save_sae

ROWS = (5, 0, 95, 41, 42, 17)  # not in order: columns must follow
KINDS: dict[str, dict[str, Any]] = {
    "standard": {},
    "jumprelu": {},
    "gated": {},
    "batchtopk": {},
    "topk": {},
    "topk_rescaled": {"rescale_acts_by_decoder_norm": True},
}


@pytest.fixture(scope="module")
def residual() -> Tensor:
    """Tokens [token, d] of very different lengths."""
    source = torch.Generator().manual_seed(1)
    return torch.randn(400, 48, generator=source) * torch.logspace(-1, 1, 400)[:, None]


def make(folder: Path, kind: str, **cfg: Any) -> Path:
    return save_sae(folder, kind.removesuffix("_rescaled"), **KINDS[kind], **cfg)


def assert_equal(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> None:
    """Relative to the largest activation, 1e-5; and the same latents are active."""
    scale = np.abs(theirs).max()
    assert scale > 0
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * float(scale))
    np.testing.assert_array_equal(ours > 0, theirs > 0)


@pytest.mark.parametrize("bias", [True, False], ids=["b_dec", "no_b_dec"])
@pytest.mark.parametrize("normalisation", ["none", "layer_norm", "constant_norm_rescale"])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_sae_lens(kind: str, normalisation: str, bias: bool, tmp_path: Path, residual: Tensor) -> None:
    folder = make(tmp_path, kind, apply_b_dec_to_input=bias, normalize_activations=normalisation)
    theirs = reference(folder, residual, ROWS)
    assert 0 < (theirs > 0).mean() < 1
    assert_equal(CuratedEncoder(load_saelens(folder), ROWS)(residual).numpy(), theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_saved_in_half_precision(kind: str, tmp_path: Path, residual: Tensor) -> None:
    folder = make(tmp_path, kind, dtype="float16")
    weights = load_saelens(folder)
    assert weights.w_enc.dtype == np.float32
    assert_equal(CuratedEncoder(weights, ROWS)(residual).numpy(), reference(folder, residual, ROWS))


def test_batch_topk_is_read_as_the_jumprelu_that_it_is_saved_as(tmp_path: Path) -> None:
    weights = load_saelens(make(tmp_path, "batchtopk"))
    assert weights.architecture == "jumprelu"
    assert weights.threshold is not None
    assert (weights.threshold == 1.5).all()


@pytest.mark.parametrize("kind", KINDS)
def test_decoder_norm_folded_is_what_sae_lens_folds(kind: str, tmp_path: Path, residual: Tensor) -> None:
    folder = make(tmp_path, kind)
    weights = load_saelens(folder)
    assert weights.decoder_norm is not None
    raw = reference(folder, residual, ROWS)
    folded = CuratedEncoder(weights, ROWS, "decoder_norm_folded")(residual).numpy()
    assert_equal(folded, raw * weights.decoder_norm[list(ROWS)])


@pytest.mark.parametrize("kind", ["standard", "jumprelu", "gated"])
def test_folding_equals_a_fold_by_sae_lens_itself(kind: str, tmp_path: Path, residual: Tensor) -> None:
    from tests.saelens import SAE

    folder = make(tmp_path, kind)
    sae = SAE.load_from_disk(folder, fold_W_dec_norm=True)
    with torch.no_grad():
        theirs = sae.encode(residual)[:, list(ROWS)].numpy()
    ours = CuratedEncoder(load_saelens(folder), ROWS, "decoder_norm_folded")(residual).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * float(theirs.max()))


def test_old_keys_name_the_activation(tmp_path: Path, residual: Tensor) -> None:
    """Before 6.0 a TopK SAE was a standard one with an activation function of that name."""
    folder = make(tmp_path, "topk")
    edit_cfg(
        folder,
        remove=("architecture", "k", "metadata", "normalize_activations", "reshape_activations"),
        activation_fn_str="topk",
        activation_fn_kwargs={"k": 12},
        hook_point="blocks.3.hook_resid_post",
        normalize_activations=None,
    )
    weights = load_saelens(folder)
    assert (weights.architecture, weights.k) == ("topk", 12)
    assert_equal(CuratedEncoder(weights, ROWS)(residual).numpy(), reference(folder, residual, ROWS))


@pytest.mark.parametrize("normalisation", ["none", None, False])
def test_old_ways_to_say_that_nothing_is_normalised(normalisation: object, tmp_path: Path, residual: Tensor) -> None:
    folder = make(tmp_path, "standard")
    edit_cfg(folder, remove=("metadata",), activation_fn_str="relu", normalize_activations=normalisation)
    assert_equal(CuratedEncoder(load_saelens(folder), ROWS)(residual).numpy(), reference(folder, residual, ROWS))


def topk_weights(bias: list[float], k: int) -> SaeWeights:
    """A TopK SAE over two dimensions whose pre-activations are `bias` on the token (0, 0)."""
    s = len(bias)
    return SaeWeights(
        architecture="topk",
        w_enc=np.zeros((2, s), np.float32),
        b_enc=np.array(bias, np.float32),
        b_dec=np.zeros(2, np.float32),
        subtract_b_dec=True,
        k=k,
    )


def test_topk_keeps_fewer_than_k_if_fewer_are_positive() -> None:
    acts = CuratedEncoder(topk_weights([3, -1, 2, -5], k=3), (0, 1, 2, 3))(torch.zeros(1, 2))
    assert acts.tolist() == [[3, 0, 2, 0]]


def test_topk_of_tokens_without_any_active_latent() -> None:
    acts = CuratedEncoder(topk_weights([-3, -1, 0], k=2), (0, 2))(torch.zeros(4, 2))
    assert acts.tolist() == [[0, 0]] * 4


@pytest.mark.parametrize(("basis", "expected"), [("raw", [[3, 0, 0, 1]]), ("decoder_norm_folded", [[6, 0, 0, 9]])])
def test_topk_ranked_by_decoder_norm(basis: Any, expected: list[list[float]]) -> None:
    """lm-saes ranks by pre * norm, here 6, 4, 2.5 and 9, and leaves pre as it was."""
    norms = np.array([2, 1, 1, 9], np.float32)
    weights = replace(topk_weights([3, 4, 2.5, 1], k=2), decoder_norm=norms, rank_by_decoder_norm=True)
    acts = CuratedEncoder(weights, (0, 1, 2, 3), basis)(torch.zeros(1, 2))
    np.testing.assert_allclose(acts.numpy(), expected, rtol=1e-6)


def test_topk_with_all_chosen_latents_outranked() -> None:
    acts = CuratedEncoder(topk_weights([1, 9, 8, 7], k=2), (0, 3))(torch.zeros(2, 2))
    assert acts.tolist() == [[0, 0]] * 2


def test_topk_ties_leave_exactly_k(tmp_path: Path) -> None:
    """Which of equals stays is not defined, neither here nor in sae-lens; how many stay is."""
    acts = CuratedEncoder(topk_weights([2, 2, 2, 2, 1], k=3), range(5))(torch.zeros(1, 2))
    assert sorted(acts[0].tolist()) == [0, 0, 2, 2, 2]


def test_topk_ranks_among_all_latents_not_among_the_chosen(tmp_path: Path, residual: Tensor) -> None:
    folder = make(tmp_path, "topk")
    weights = load_saelens(folder)
    alone = np.concatenate([CuratedEncoder(weights, (row,))(residual).numpy() for row in ROWS], axis=1)
    assert_equal(alone, reference(folder, residual, ROWS))


def test_no_tokens_give_no_rows(tmp_path: Path) -> None:
    for kind in KINDS:
        encoder = CuratedEncoder(load_saelens(make(tmp_path / kind, kind)), ROWS)
        assert encoder(torch.zeros(0, 48)).shape == (0, len(ROWS))


def test_a_residual_in_bfloat16_is_encoded_in_float32(tmp_path: Path, residual: Tensor) -> None:
    encoder = CuratedEncoder(load_saelens(make(tmp_path, "standard")), ROWS)
    short = residual.bfloat16()
    assert torch.equal(encoder(short), encoder(short.float()))


@pytest.mark.parametrize("index", [-1, 96, 10_000])
def test_an_index_outside_is_refused(index: int, tmp_path: Path) -> None:
    weights = load_saelens(make(tmp_path, "standard"))
    with pytest.raises(ConfigError, match=rf"^feature index {index} is outside the SAE's 96 latents$"):
        CuratedEncoder(weights, (3, index))


def test_folding_needs_the_decoder() -> None:
    with pytest.raises(ConfigError, match="no decoder, whose norms the activation basis needs"):
        CuratedEncoder(topk_weights([1], k=1), (0,), "decoder_norm_folded")
