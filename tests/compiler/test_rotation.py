"""Rotations: orthogonal, spread evenly, and the same every time."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.compiler.rotation import rotation


@pytest.mark.parametrize("channels", [1, 2, 64, 576])
def test_lengths_and_angles_stay(channels: int) -> None:
    turn = rotation(channels)
    assert turn.dtype == np.float32
    np.testing.assert_allclose(turn @ turn.T, np.eye(channels), atol=1e-5)


def test_the_same_seed_gives_the_same_turn() -> None:
    np.testing.assert_array_equal(rotation(16), rotation(16))
    assert np.abs(rotation(16) - rotation(16, seed=1)).max() > 0.1


def test_one_large_channel_is_spread_over_all() -> None:
    token = np.zeros(576, np.float32)
    token[7] = 1_000
    assert np.abs(token @ rotation(576)).max() < 200
