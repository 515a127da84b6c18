"""A model with one loud word, and an SAE with one latent that is active only on that word."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from monitor.readers.reader import Chunk
from monitor.readers.torch_reader import TorchReader
from tests.lab.small_llama import D_MODEL, WORDS

WORD = "w7"
LATENT = 5
WIDTH = 12
LAYER = 0
_FIRST = 5  # in the vocabulary, special words stand in front
_LOUD = 80.0


def save_planted_model(folder: Path, model: Path) -> Path:
    """A copy of `model` in which the embedding of WORD is far longer than all that blocks add, in one direction."""
    shutil.copytree(model, folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["model.embed_tokens.weight"][_FIRST + WORDS.index(WORD)] = _LOUD * _direction()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def save_planted_sae(folder: Path, model: Path) -> Path:
    """LATENT is that direction; the others are random and active on about a tenth of random words."""
    draw = np.random.default_rng(1)
    chunks = [draw.integers(_FIRST, _FIRST + len(WORDS), size=24).astype(np.int32) for _ in range(60)]
    x = np.concatenate(TorchReader(model, LAYER, lambda residual: residual, threads=1).read([Chunk(c) for c in chunks]))
    w_enc = draw.normal(size=(D_MODEL, WIDTH)).astype(np.float32)
    b_enc = -np.quantile(x @ w_enc, 0.9, axis=0).astype(np.float32)
    w_enc[:, LATENT], b_enc[LATENT] = _direction(), -_LOUD / 2
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        "W_enc": w_enc,
        "b_enc": b_enc,
        "W_dec": np.ascontiguousarray((w_enc / np.linalg.norm(w_enc, axis=0)).T),
        "b_dec": np.zeros(D_MODEL, np.float32),
    }
    save_file(tensors, folder / "sae_weights.safetensors")
    cfg = {"architecture": "standard", "d_in": D_MODEL, "d_sae": WIDTH, "apply_b_dec_to_input": False}
    (folder / "cfg.json").write_text(json.dumps(cfg))
    return folder


def _direction() -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    drawn = np.random.default_rng(9).normal(size=D_MODEL)
    return (drawn / np.linalg.norm(drawn)).astype(np.float32)
