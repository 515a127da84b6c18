"""An SAE that gives back what it reads: half of its latents are the residual's coordinates, half their negatives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file


def save_inverting_sae(folder: Path, d_model: int, layer: int | None) -> Path:
    """In SAELens layout; `layer` is the block that its files name."""
    identity = np.eye(d_model, dtype=np.float32)
    encoder = np.concatenate([identity, -identity], axis=1)
    tensors = {
        "W_enc": encoder,
        "b_enc": np.zeros(2 * d_model, np.float32),
        "W_dec": np.ascontiguousarray(encoder.T),
        "b_dec": np.zeros(d_model, np.float32),
    }
    folder.mkdir(parents=True)
    save_file(tensors, folder / "sae_weights.safetensors")
    cfg = {"architecture": "standard", "d_in": d_model, "d_sae": 2 * d_model, "apply_b_dec_to_input": False}
    hook = {} if layer is None else {"hook_name": f"blocks.{layer}.hook_resid_post"}
    (folder / "cfg.json").write_text(json.dumps({**cfg, **hook}))
    return folder
