"""Shuffled batches: everything once, well mixed, and the same when a run continues."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pytest
import torch
from torch import Tensor

from monitor.errors import ConfigError
from monitor.lab.sae_training.shuffle import endless_batches, shuffled_batches


def numbered(total: int, chunk: int) -> Iterator[Tensor]:
    return iter(torch.arange(float(total))[:, None].split(chunk))


class Numbers:
    def chunks(self, split: str, epoch: int = 0) -> Iterator[Tensor]:
        return numbered(1_000, 130)


@pytest.mark.parametrize("chunk", [7, 100, 5_000])
def test_every_token_is_handed_out_once(chunk: int) -> None:
    batches = list(shuffled_batches(numbered(5_000, chunk), 50, 400, torch.Generator().manual_seed(1)))
    assert all(batch.shape == (50, 1) for batch in batches)
    assert sorted(torch.cat(batches).flatten().tolist()) == list(range(5_000))


def test_what_lay_apart_meets_in_a_batch() -> None:
    batches = list(shuffled_batches(numbered(5_000, 10), 50, 1_000, torch.Generator().manual_seed(1)))
    spread = torch.stack([batch.max() - batch.min() for batch in batches])
    assert spread.median() > 500


def test_a_run_that_goes_on_takes_the_same_batches() -> None:
    def batches(skip: int, seed: int = 3) -> list[Tensor]:
        return list(islice(endless_batches(Numbers(), 64, 200, seed, skip), 60))  # type: ignore[arg-type]

    whole = batches(0)
    assert all(torch.equal(a, b) for a, b in zip(whole[23:], batches(23), strict=False))
    assert not torch.equal(whole[0], batches(0, seed=4)[0])
    epoch = 1_000 // 64
    assert not torch.equal(whole[0], whole[epoch]), "another order in the next epoch"


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least twice"):
        next(endless_batches(Numbers(), 64, 100, 0))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="fewer tokens than one batch"):
        next(endless_batches(Numbers(), 1_001, 5_000, 0))  # type: ignore[arg-type]
