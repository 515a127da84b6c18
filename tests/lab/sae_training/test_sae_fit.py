"""Figures that an SAE can't have where it belongs, and the block that it is measured on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from monitor.errors import ConfigError
from monitor.lab.sae_training.sae_fit import better_block, measured_layer, misfits
from monitor.sae.sae_format import open_sae
from tests import sae_files

GOOD: dict[str, Any] = {"fvu": 0.2, "l0": 60.0, "spliced": {"ce_recovered": 0.95}}


def test_figures_of_an_sae_that_belongs_there(tmp_path: Path) -> None:
    published_71 = open_sae(sae_files.gemma_scope(tmp_path))
    assert misfits(published_71, GOOD) == []
    assert misfits(published_71, {"fvu": 0.2, "l0": 60.0}) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"fvu": 1.4}, "it leaves 140% of the variance unexplained, and 70% is already too much"),
        ({"l0": 0.0}, "no latent is ever active"),
        ({"l0": 300.0}, "300.0 latents are active on a token, but its files name 71"),
        ({"l0": 12.0}, "12.0 latents are active on a token, but its files name 71"),
        ({"spliced": {"ce_recovered": -0.2}}, "its reconstruction recovers only -20% of the model's loss"),
        ({"fvu": None}, "no token of the texts could be measured"),
    ],
)
def test_figures_of_an_sae_elsewhere(change: dict[str, Any], reason: str, tmp_path: Path) -> None:
    assert misfits(open_sae(sae_files.gemma_scope(tmp_path)), {**GOOD, **change}) == [reason]


def test_a_topk_sae_has_no_more_than_k(tmp_path: Path) -> None:
    assert misfits(open_sae(sae_files.sparsify(tmp_path)), {**GOOD, "l0": 1.0})[0].endswith("its files name 7")


def test_the_block_is_the_one_that_the_files_name(tmp_path: Path) -> None:
    sae = open_sae(sae_files.gemma_scope(tmp_path))
    assert measured_layer("SAE", sae, None) == measured_layer("SAE", sae, 12) == 12
    with pytest.raises(ConfigError, match=r"^--layer 13: but SAE reads the residual stream after block 12$"):
        measured_layer("SAE", sae, 13)
    silent = replace(sae, origin=None)
    assert measured_layer("SAE", silent, 0) == 0
    with pytest.raises(ConfigError, match=r"^SAE: its files don't say which block it reads; give --layer$"):
        measured_layer("SAE", silent, None)


def test_another_hook_point_cannot_be_measured(tmp_path: Path) -> None:
    sae = open_sae(sae_files.gemma_scope(tmp_path, kind="mlp"))
    with pytest.raises(ConfigError, match=r"^SAE: reads the MLP output of block 12; figures can only be measured on"):
        measured_layer("SAE", sae, None)


def test_a_block_that_fits_better() -> None:
    assert better_block(5, {5: 0.26, 13: 0.14}) == (
        "it leaves 26% of the variance unexplained, but only 14% at block 13"
    )
    assert better_block(5, {5: 0.15, 6: 0.14}) is None  # the next block is nearly the same
    assert better_block(5, {6: 0.14}) is None
