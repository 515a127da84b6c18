"""Weights of a GGUF in the form that the file has them in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monitor.model.four_bit import FourBitWeight
from monitor.model.gguf.file import GgufFile
from monitor.model.gguf.weights import decoded, four_bit
from tests.model.gguf.small_gguf import make_package


@pytest.mark.parametrize("part", ["attn_q", "attn_v", "ffn_down"])  # attn_q has its rows in another order
def test_a_weight_in_4_bits_has_the_values_that_it_decodes_to(part: str, tmp_path: Path) -> None:
    file = GgufFile.open(make_package(tmp_path / "package", four_bit=(part,)))
    name = f"blk.1.{part}.weight"
    weight = four_bit(file, name)
    assert weight is not None
    assert weight.levels.max() == 15
    expected = decoded(file, name).T
    assert weight.shape == expected.shape
    np.testing.assert_allclose(weight.dense(), expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(weight.times(3).dense(), 3 * expected, rtol=1e-6, atol=1e-5)


def test_other_formats_are_left_to_be_decoded(tmp_path: Path) -> None:
    file = GgufFile.open(make_package(tmp_path / "package", four_bit=("ffn_up",)))
    assert four_bit(file, "blk.0.ffn_down.weight") is None


def test_weights_side_by_side() -> None:
    source = np.random.default_rng(0)
    parts = [
        FourBitWeight(
            source.integers(0, 16, (outputs, 2, 32), np.uint8),
            source.standard_normal((outputs, 2)).astype(np.float32),
            source.standard_normal((outputs, 2)).astype(np.float32),
        )
        for outputs in (3, 5)
    ]
    whole = FourBitWeight.side_by_side(parts)
    assert whole.shape == (64, 8)
    np.testing.assert_array_equal(whole.dense(), np.concatenate([p.dense() for p in parts], axis=1))
