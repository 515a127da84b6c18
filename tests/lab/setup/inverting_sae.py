"""An SAE that gives back what it reads: latents for the residual's coordinates and their negatives, and a few more."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file


@dataclass(frozen=True)
class Further:
    """Latents that are active where the residual goes further than `bounds` [latent] along `directions` [latent, d]."""

    directions: NDArray[np.float32]
    bounds: NDArray[np.float32]


def none(d_model: int) -> Further:
    """No further latents."""
    return Further(np.zeros((0, d_model), np.float32), np.zeros(0, np.float32))


def save_inverting_sae(folder: Path, further: Further, layer: int | None) -> Path:
    """In SAELens layout; `layer` is the block that its files name."""
    d_model = further.directions.shape[1]
    identity = np.eye(d_model, dtype=np.float32)
    encoder = np.concatenate([identity, -identity, further.directions.T], axis=1)
    decoder = np.concatenate([identity, -identity, np.zeros_like(further.directions)])  # further ones change nothing
    tensors = {
        "W_enc": encoder,
        "b_enc": np.concatenate([np.zeros(2 * d_model, np.float32), -further.bounds]),
        "W_dec": decoder,
        "b_dec": np.zeros(d_model, np.float32),
    }
    folder.mkdir(parents=True)
    save_file(tensors, folder / "sae_weights.safetensors")
    cfg = {"architecture": "standard", "d_in": d_model, "d_sae": len(decoder), "apply_b_dec_to_input": False}
    hook = {} if layer is None else {"hook_name": f"blocks.{layer}.hook_resid_post"}
    (folder / "cfg.json").write_text(json.dumps({**cfg, **hook}))
    return folder
