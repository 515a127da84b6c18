"""Training on synthetic sparse data: what is learnt, what is saved, and how a stopped run continues."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from monitor.errors import ConfigError
from monitor.lab.sae_training.activation_source import ActivationProvenance
from monitor.lab.sae_training.packing import PackedRow
from monitor.lab.sae_training.sae_figures import WholeSae, measure
from monitor.lab.sae_training.sae_recipe import SaeRecipe
from monitor.lab.sae_training.train import TrainOptions, train
from monitor.lab.sae_training.training_run import TrainingRun
from monitor.sae.encoder import CuratedEncoder
from monitor.sae.formats.saelens import load_saelens
from tests.saelens import reference

D, TRUE, ACTIVE = 32, 48, 2


class SparseData:
    """Tokens that are sums of a few of 48 directions in 32 dimensions, off centre and of an odd scale."""

    d_model = D
    provenance = ActivationProvenance("model", "0" * 64, 3, "float32", None, {"context": 256}, ("made up",))

    def __init__(self) -> None:
        source = torch.Generator().manual_seed(9)
        self.directions = torch.nn.functional.normalize(torch.randn(TRUE, D, generator=source), dim=1)

    def chunks(self, split: str, epoch: int = 0) -> Iterator[Tensor]:
        source = torch.Generator().manual_seed({"train": 1, "held_out": 2}[split])
        for _ in range(8):
            chosen = torch.rand(4_096, TRUE, generator=source).topk(ACTIVE, dim=1).indices
            strength = torch.zeros(4_096, TRUE).scatter(1, chosen, 1 + torch.rand(4_096, ACTIVE, generator=source))
            yield 30 * (strength @ self.directions) + 5

    def rows(self, split: str) -> Iterator[PackedRow]:
        return iter(())


def recipe(arch: str, **changes: Any) -> SaeRecipe:
    usual = {"width": 64, "k": ACTIVE, "steps": 900, "batch": 256, "buffer": 8_192, "lr": 5e-3, "sparsity": 1.0}
    return SaeRecipe.model_validate({"arch": arch, **usual, **changes})


def trained(folder: Path, arch: str, **changes: Any) -> Path:
    return train(TrainingRun(folder), recipe(arch, **changes), SparseData(), TrainOptions(checkpoint_every=400))


# reached when this was written: 0.029, 0.012, 0.012, 0.033
@pytest.mark.parametrize(
    ("arch", "fvu"), [("topk", 0.06), ("batchtopk", 0.03), ("jumprelu", 0.03), ("matryoshka", 0.07)]
)
def test_the_directions_are_found(arch: str, fvu: float, tmp_path: Path) -> None:
    folder = trained(tmp_path, arch, width=96)
    found = measure(WholeSae(folder), SparseData().chunks("held_out")).result()
    assert found["tokens"] == 8 * 4_096
    assert found["fvu"] < fvu
    assert found["l0"] == pytest.approx(ACTIVE, rel=0.5 if arch == "jumprelu" else 0.1)
    decoder = torch.nn.functional.normalize(load_file(folder / "sae_weights.safetensors")["W_dec"], dim=1)
    nearest = (SparseData().directions @ decoder.T).amax(dim=1)
    assert (nearest > 0.9).float().mean() > 0.8, "most true directions are latents"


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("arch", ["topk", "batchtopk", "jumprelu", "matryoshka"])
def test_what_is_saved_works_on_raw_residuals(arch: str, precision: Any, tmp_path: Path) -> None:
    data = SparseData()
    folder = train(TrainingRun(tmp_path), recipe(arch, steps=30), data, TrainOptions(precision=precision))
    weights = load_saelens(folder)
    assert weights.architecture == ("topk" if arch == "topk" else "jumprelu")
    assert weights.normalisation == "none"
    raw = next(data.chunks("held_out"))[:300]
    chosen = [40, 3, 17, 63, 5]
    theirs = reference(folder, raw, chosen)
    assert (theirs > 0).any()
    ours = CuratedEncoder(weights, chosen)(raw).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.max()))
    cfg = json.loads((folder / "cfg.json").read_text())
    assert (cfg["dtype"], cfg["metadata"]["hook_name"]) == (precision, "blocks.3.hook_resid_post")


def test_the_factor_of_training_is_folded_in(tmp_path: Path) -> None:
    """The saved SAE on raw tokens does what the one in training did on scaled ones."""
    data = SparseData()
    folder = train(TrainingRun(tmp_path), recipe("topk", steps=30), data, TrainOptions())
    checkpoint = tmp_path / "checkpoints" / "step-0000030"
    factor = json.loads((checkpoint / "activation_scaler.json").read_text())["scaling_factor"]
    assert factor != pytest.approx(1, rel=0.5)
    from tests.lab.sae_training.test_sparse_step import PAIRS

    sae = PAIRS["topk"][1](PAIRS["topk"][2](d_in=D, d_sae=64, k=ACTIVE))
    sae.load_weights_from_checkpoint(checkpoint)
    raw = next(data.chunks("held_out"))[:500]
    with torch.no_grad():
        expected = sae(raw * factor) / factor
    torch.testing.assert_close(WholeSae(folder).reconstruct(raw), expected, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("arch", ["batchtopk", "jumprelu"])
def test_a_run_that_was_stopped_ends_with_the_same_weights(arch: str, tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(step: int, _metrics: dict[str, Any]) -> None:
        if step == 35:
            raise Stopped

    plan = recipe(arch, steps=60)
    options = TrainOptions(checkpoint_every=15)
    whole = train(TrainingRun(tmp_path / "whole"), plan, SparseData(), options)
    run = TrainingRun(tmp_path / "parts")
    with pytest.raises(Stopped):
        train(run, plan, SparseData(), options, stop)
    with pytest.raises(ConfigError, match="continue it with --resume"):
        train(run, plan, SparseData(), options)
    with pytest.raises(ConfigError, match="different values of sae"):
        train(run, recipe(arch, steps=70), SparseData(), TrainOptions(resume=True))
    steps: list[int] = []
    parts = train(
        run, plan, SparseData(), TrainOptions(checkpoint_every=15, resume=True), lambda step, _: steps.append(step)
    )
    assert steps == list(range(31, 61))
    expected, found = (load_file(f / "sae_weights.safetensors") for f in (whole, parts))
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    lines = [(tmp_path / f / "metrics.jsonl").read_text() for f in ("whole", "parts")]
    assert lines[0] == lines[1]
    assert len(list((tmp_path / "parts" / "checkpoints").iterdir())) == 2
