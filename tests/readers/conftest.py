"""The SAEs that the reader tests encode with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from monitor.sae.encoder import CuratedEncoder
from monitor.sae.formats.saelens import load_saelens
from monitor.sets.load import builtin_folder
from tests.reader_model import D_MODEL
from tests.saelens import save_sae

LATENTS = tuple(range(3, 2048, 32))  # 64 of them


class EncoderOfAll:
    """Several encoders side by side, so that one reading of the model tests them all."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._encoders = [CuratedEncoder(load_saelens(folder), LATENTS) for folder in folders]

    def __call__(self, residual: Tensor) -> Tensor:
        return torch.cat([encoder(residual) for encoder in self._encoders], dim=1)


class Residual:
    """Stands in for an encoder and hands the residual stream through."""

    def __call__(self, residual: Tensor) -> Tensor:
        return residual.clone()


@pytest.fixture(scope="session")
def saes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of SAEs as wide as the real model: random ones, and those that ship with it."""
    made = tmp_path_factory.mktemp("saes")
    folders = {
        kind: save_sae(made / kind, kind, D_MODEL, 2048, **({"k": 32} if kind == "topk" else {}))
        for kind in ("topk", "standard", "jumprelu")
    }
    shipped = sorted(builtin_folder().glob("smollm2-135m-instruct/**/sae/cfg.json"))
    return folders | {path.parent.parent.name: path.parent for path in shipped}


def ordinary(residual: Tensor) -> np.ndarray:
    """Which tokens carry no massive activation, beside which everything else would look small."""
    mask: np.ndarray = (residual.norm(dim=1) < 3_000).numpy()
    return mask
