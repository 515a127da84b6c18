"""A model and an SAE that know each other: latents with decoder rows at right angles, one of which moves the output."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from monitor.config.sections import Config
from monitor.lab.reading.hook import hook_of_set
from monitor.lab.steering.rig import SteeringRig
from monitor.model.files import ModelFiles, locate
from monitor.sae.sae_format import SAE_FORMATS
from tests.feature_set_factory import weighted_data, write_yaml
from tests.lab.small_llama import D_MODEL

LAYER = 0
WIDTH = 24
CAUSAL = 3
"""Along the output's own directions."""


def save_sae(folder: Path, model: Path, **cfg: object) -> Path:
    """A ReLU SAE with decoder rows of length 2, and encoder rows that read exactly those."""
    q, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(D_MODEL, D_MODEL)))
    directions = q[:, :WIDTH].astype(np.float32)  # [d, s]
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        "W_enc": np.ascontiguousarray(directions / 2),
        "b_enc": np.zeros(WIDTH, np.float32),
        "W_dec": np.ascontiguousarray(directions.T * 2),
        "b_dec": np.zeros(D_MODEL, np.float32),
    }
    save_file(tensors, folder / "sae_weights.safetensors")
    config = {"architecture": "standard", "d_in": D_MODEL, "d_sae": WIDTH, "apply_b_dec_to_input": False, **cfg}
    (folder / "cfg.json").write_text(json.dumps(config))
    return folder


def save_set(folder: Path, model: Path, **changes: object) -> Path:
    """A weighted set over latents CAUSAL and CAUSAL + 1, with its SAE."""
    sae = save_sae(folder / "sae", model)
    files: ModelFiles = locate(str(model), None, None)
    reader = {
        "model": "small",
        "model_sha256": files.sha256,
        "layer": LAYER,
        "sae": {
            "format": "saelens",
            "path": "sae",
            "sha256": SAE_FORMATS.load("saelens").sha256(sae),
            "width": WIDTH,
        },
    }
    features = [
        {"index": CAUSAL, "label": "the planted one", "label_score": 0.9, "weight": 1.0},
        {"index": CAUSAL + 1, "label": "another one", "label_score": 0.9, "weight": 0.5},
    ]
    return write_yaml(folder / "planted.yaml", weighted_data(id="planted", reader=reader, features=features, **changes))


def config_of(model: Path) -> Config:
    """Reads with torch on one thread."""
    return Config.model_validate({"reader": {"engine": "torch", "model": str(model), "threads": 1}})


def open_rig(path: Path, model: Path) -> SteeringRig:
    """The rig of the set in `path`."""
    config = config_of(model)
    return SteeringRig(hook_of_set(config, str(path)), config)
