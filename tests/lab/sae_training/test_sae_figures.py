"""FVU, L0 and latents never active, against values known by hand and by sae-lens."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from monitor.errors import ConfigError
from monitor.lab.sae_training.sae_figures import SaeFigures, WholeSae, measure
from tests import sae_files
from tests.saelens import SAE, save_sae

D, S = 48, 96


def tokens(count: int = 300) -> torch.Tensor:
    return torch.randn(count, D, generator=torch.Generator().manual_seed(1)) * 3 + 1


@pytest.mark.parametrize("kind", ["standard", "jumprelu", "gated", "topk", "batchtopk"])
def test_reconstructions_are_those_of_sae_lens(kind: str, tmp_path: Path) -> None:
    folder = save_sae(tmp_path, kind)
    with torch.no_grad():
        expected = SAE.load_from_disk(folder, dtype="float32")(tokens())
    torch.testing.assert_close(WholeSae(folder).reconstruct(tokens()), expected, rtol=1e-4, atol=1e-3)


def test_reconstructions_of_a_rescaled_topk(tmp_path: Path) -> None:
    folder = save_sae(tmp_path, "topk", rescale_acts_by_decoder_norm=True)
    with torch.no_grad():
        expected = SAE.load_from_disk(folder, dtype="float32")(tokens())
    torch.testing.assert_close(WholeSae(folder).reconstruct(tokens()), expected, rtol=1e-4, atol=1e-3)


def test_figures_of_any_cut(tmp_path: Path) -> None:
    sae = WholeSae(save_sae(tmp_path, "topk"))
    x = tokens()
    latents = sae.encode(x)
    rest = x - sae.reconstruct(x)
    expected = {
        "tokens": 300,
        "fvu": float((rest**2).sum() / ((x - x.mean(0)) ** 2).sum()),
        "l0": float((latents > 0).sum()) / 300,
        "never_active": int((latents == 0).all(0).sum()),
    }
    for cut in (1, 7, 300):
        found = measure(sae, x.split(cut)).result()
        assert {key: found[key] for key in expected} == pytest.approx(expected, rel=1e-4)
    assert measure(sae, x.split(7), 100).result()["tokens"] == 100
    torch.testing.assert_close(measure(sae, [x]).mean, x.mean(0))


def test_the_mean_explains_nothing_and_a_perfect_sae_all(tmp_path: Path) -> None:
    folder = save_sae(tmp_path, "standard", d_sae=2 * D)
    file = folder / "sae_weights.safetensors"
    x = tokens()
    weights = {k: torch.zeros_like(v) for k, v in load_file(file).items()}
    save_file(weights | {"b_dec": x.mean(0)}, file)
    found = measure(WholeSae(folder), [x]).result()
    assert found["fvu"] == pytest.approx(1, abs=1e-5)
    assert (found["l0"], found["never_active_share"]) == (0, 1)
    mirrored = torch.cat([torch.eye(D), -torch.eye(D)])  # [s, d]; x = relu(x) - relu(-x)
    save_file(weights | {"W_enc": mirrored.T.contiguous(), "W_dec": mirrored}, file)
    assert measure(WholeSae(folder), [x]).result()["fvu"] == pytest.approx(0, abs=1e-9)


def test_no_tokens_give_no_figures(tmp_path: Path) -> None:
    assert SaeFigures(WholeSae(save_sae(tmp_path, "standard"))).result()["fvu"] is None


@pytest.mark.parametrize("normalisation", ["layer_norm", "constant_norm_rescale"])
def test_an_sae_that_normalises_its_input_scales_its_output_back(normalisation: str, tmp_path: Path) -> None:
    folder = save_sae(tmp_path, "topk", normalize_activations=normalisation)
    with torch.no_grad():
        expected = SAE.load_from_disk(folder, dtype="float32")(tokens())
    torch.testing.assert_close(WholeSae(folder).reconstruct(tokens()), expected, rtol=1e-4, atol=1e-3)


def test_a_transcoder_is_refused(tmp_path: Path) -> None:
    path = sae_files.sparsify(tmp_path, hook="layers.12.mlp", transcode=True)
    with pytest.raises(ConfigError, match="only an SAE that reproduces its input can be measured, not a transcoder"):
        WholeSae(path)
