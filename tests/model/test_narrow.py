"""Numbers in 16 bits: only if that loses nothing."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from monitor.model.narrow import narrowed, widened

DRAW = np.random.default_rng(0).standard_normal((20, 8)).astype(np.float32)


def bfloat16(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return (values.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (DRAW.astype(np.float16).astype(np.float32), np.float16),
        (bfloat16(DRAW) * np.float32(2.0**40), np.uint16),
        (DRAW, np.float32),
        (np.array([1e-30, 1.0], np.float32), np.float32),
        (np.array([70_000.5], np.float32), np.float32),
    ],
)
def test_nothing_is_lost(values: NDArray[np.float32], dtype: type) -> None:
    stored = narrowed(values)
    assert stored.dtype == dtype
    np.testing.assert_array_equal(widened(stored), values)
    assert widened(stored).dtype == np.float32
