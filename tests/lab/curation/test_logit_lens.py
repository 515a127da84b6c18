"""The logit lens on the small model, against the same product by hand, and why it may be unavailable."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from monitor.lab.curation.logit_lens import SHOWN, NotAvailable, logit_lens
from tests.lab.small_llama import D_MODEL


@pytest.fixture
def folders(small_llama: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A model with a final norm that is not all ones, and an SAE of four latents."""
    model, sae = tmp_path / "model", tmp_path / "sae"
    shutil.copytree(small_llama, model)
    sae.mkdir()
    draw = np.random.default_rng(0)
    tensors = load_file(model / "model.safetensors")
    tensors["model.norm.weight"] = draw.normal(1, 0.5, D_MODEL).astype(np.float32)
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    save_file({"W_dec": draw.normal(size=(4, D_MODEL)).astype(np.float32)}, sae / "sae_weights.safetensors")
    return model, sae


def rows(sae: Path, *latents: int) -> torch.Tensor:
    return torch.from_numpy(load_file(sae / "sae_weights.safetensors")["W_dec"][list(latents)])


def test_it_is_the_decoder_through_norm_and_unembedding(folders: tuple[Path, Path]) -> None:
    model, sae = folders
    found = logit_lens(model, model / "tokenizer.json", rows(sae, 2, 0))
    assert not isinstance(found, NotAvailable)
    tensors = load_file(model / "model.safetensors")
    row = load_file(sae / "sae_weights.safetensors")["W_dec"][2]
    logits = (tensors["lm_head.weight"] @ (tensors["model.norm.weight"] * row))[:205]  # the rest has no words
    vocabulary = json.loads((model / "tokenizer.json").read_text())["model"]["vocab"]
    words = {number: word for word, number in vocabulary.items()}
    order = np.argsort(-logits)
    assert [text for text, _ in found[0].promoted] == [words[int(n)] for n in order[:SHOWN]]
    assert [text for text, _ in found[0].demoted] == [words[int(n)] for n in order[::-1][:SHOWN]]
    np.testing.assert_allclose([v for _, v in found[0].promoted], logits[order[:SHOWN]], rtol=1e-4)
    assert found[0] != found[1]


def test_it_says_what_is_missing(folders: tuple[Path, Path]) -> None:
    model, sae = folders
    tensors = load_file(model / "model.safetensors")
    decoder: torch.Tensor | None = rows(sae, 0)

    def lens() -> object:
        return logit_lens(model, model / "tokenizer.json", decoder)

    without = {name: tensor for name, tensor in tensors.items() if name != "lm_head.weight"}
    save_file(without, model / "model.safetensors")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
    assert lens() == NotAvailable("the model folder has no unembedding")
    (model / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    assert isinstance(lens(), list)
    save_file({k: v for k, v in without.items() if k != "model.norm.weight"}, model / "model.safetensors")
    assert lens() == NotAvailable("the model folder has no final norm")
    decoder = None
    assert lens() == NotAvailable("the SAE has no decoder")
