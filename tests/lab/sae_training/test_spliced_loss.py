"""The spliced loss against the whole model run by hand."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor

from monitor.errors import ConfigError
from monitor.lab.sae_training.packing import PackedRow, Packer
from monitor.lab.sae_training.spliced_loss import SplicedLoss
from tests.lab.small_llama import D_MODEL


def rows() -> list[PackedRow]:
    source = np.random.default_rng(2)
    packer = Packer(32)
    found: list[PackedRow] = []
    for document in range(12):
        ids = source.integers(5, 200, 12 + document).astype(np.int32)
        kept = source.random(ids.size) < 0.8
        found += packer.add(ids, kept, ids[:0], document)
    return found


def by_hand(folder: Path, change: float | None) -> tuple[float, int]:
    """Mean loss at tokens that count, one piece at a time, with block 0 putting out `change` at them."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    kept = torch.zeros(0, dtype=torch.bool)

    def splice(_m: object, _i: object, output: Tensor) -> Tensor:
        changed = output.clone()
        if change is not None:
            changed[0, kept] = change
        return changed

    model.get_decoder().layers[0].register_forward_hook(splice)
    total, count = 0.0, 0
    for row in rows():
        for start, end in pairwise([*np.flatnonzero(row.positions == 0), row.ids.size]):
            ids = torch.from_numpy(row.ids[start:end].astype(np.int64))
            kept = torch.from_numpy(row.kept[start:end])
            with torch.inference_mode():
                logits = model(input_ids=ids[None]).logits[0]
            loss = torch.nn.functional.cross_entropy(logits[:-1], ids[1:], reduction="none")[kept[:-1]]
            total, count = total + float(loss.sum()), count + loss.numel()
    return total / count, count


def test_losses_are_those_of_each_text_by_itself(small_llama: Path) -> None:
    loss = SplicedLoss(small_llama, 0, precision="float32", threads=1)
    found = loss.measure(rows(), lambda r: torch.full_like(r, 0.3), torch.full((D_MODEL,), 0.7))
    for name, change in (("clean", None), ("sae", 0.3), ("zero", 0.0), ("mean", 0.7)):
        expected, count = by_hand(small_llama, change)
        assert found[f"ce_{name}"] == pytest.approx(expected, rel=1e-4)
        assert found["tokens"] == count
    assert found["ce_sae"] != pytest.approx(found["ce_clean"], rel=1e-3)
    zero, clean, sae = (found[f"ce_{n}"] for n in ("zero", "clean", "sae"))
    if zero > clean:
        assert found["ce_recovered"] == pytest.approx((zero - sae) / (zero - clean))


def test_no_harm_recovers_all_and_zeros_nothing(small_llama: Path) -> None:
    loss = SplicedLoss(small_llama, 0, precision="float32", threads=1)
    same = loss.measure(rows(), lambda r: r, torch.zeros(D_MODEL))
    assert same["ce_sae"] == pytest.approx(same["ce_clean"], rel=1e-6)
    zeros = loss.measure(rows(), torch.zeros_like, torch.zeros(D_MODEL))
    assert zeros["ce_sae"] == zeros["ce_zero"]
    many = [row for _ in range(20) for row in rows()]
    assert loss.measure(many, lambda r: r, torch.zeros(D_MODEL), 10)["tokens"] < 20 * same["tokens"]
    assert loss.measure([], lambda r: r, torch.zeros(D_MODEL)) == {"tokens": 0}


def test_long_residuals_stay_as_they_are(small_llama: Path) -> None:
    loss = SplicedLoss(small_llama, 0, precision="float32", max_norm=1e-6, threads=1)
    found = loss.measure(rows(), torch.zeros_like, torch.zeros(D_MODEL))
    assert found["ce_zero"] == found["ce_clean"]


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be loaded as a causal language model"):
        SplicedLoss(tmp_path, 0, threads=1)
