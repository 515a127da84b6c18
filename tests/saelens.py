"""SAEs made and saved by the sae-lens package, the reference that the encoder is held to."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # sae-lens imports a module that transformer-lens renamed
    from sae_lens import SAE
    from sae_lens.saes import (
        BatchTopKTrainingSAE,
        BatchTopKTrainingSAEConfig,
        GatedSAE,
        GatedSAEConfig,
        JumpReLUSAE,
        JumpReLUSAEConfig,
        StandardSAE,
        StandardSAEConfig,
        TopKSAE,
        TopKSAEConfig,
    )

_CLASSES: dict[str, tuple[Any, Any]] = {
    "standard": (StandardSAE, StandardSAEConfig),
    "jumprelu": (JumpReLUSAE, JumpReLUSAEConfig),
    "gated": (GatedSAE, GatedSAEConfig),
    "topk": (TopKSAE, TopKSAEConfig),
    "batchtopk": (BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig),
}


def save_sae(folder: Path, architecture: str = "standard", d_in: int = 48, d_sae: int = 96, **cfg: Any) -> Path:
    """A random SAE of `architecture`, written to `folder` by sae-lens; `cfg` are further fields of its config.

    `batchtopk` is a training SAE, saved for inference: sae-lens turns it into a jumprelu one.
    """
    make, make_cfg = _CLASSES[architecture]
    if architecture in ("topk", "batchtopk"):
        cfg = {"k": 12, **cfg}
    dtype = cfg.pop("dtype", "float32")
    sae = make(make_cfg(d_in=d_in, d_sae=d_sae, **cfg))
    source = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, weight in sae.named_parameters():
            weight.copy_(torch.randn(weight.shape, generator=source) * _SCALE.get(name, 0.3))
        if architecture == "jumprelu":
            sae.threshold.abs_()
        if architecture == "batchtopk":
            sae.topk_threshold.fill_(1.5)
    sae = sae.to(dtype=getattr(torch, dtype))
    sae.save_inference_model(folder) if architecture == "batchtopk" else sae.save_model(folder)
    return folder


_SCALE = {"threshold": 1.0, "b_enc": 1.0, "b_gate": 1.0, "b_mag": 1.0, "b_dec": 0.5}


def reference(folder: Path, residual: Tensor, rows: Sequence[int]) -> NDArray[np.float32]:
    """Activations [token, feature] of the latents `rows` by sae-lens, which encodes all, in float32."""
    sae = SAE.load_from_disk(folder, dtype="float32")
    with torch.no_grad():
        encoded: NDArray[np.float32] = sae.encode(residual)[:, list(rows)].numpy()
    return encoded


def edit_cfg(folder: Path, remove: Sequence[str] = (), **changes: Any) -> None:
    """Rewrites keys of cfg.json."""
    path = folder / "cfg.json"
    cfg = {k: v for k, v in json.loads(path.read_text()).items() if k not in remove}
    path.write_text(json.dumps({**cfg, **changes}))
