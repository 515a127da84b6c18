"""KvPool: rows are lent and given back, none twice and none lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.readers.onnx.kv_pool import KvPool, Rows


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=60))
def test_every_row_is_held_once_or_free(steps: list[tuple[bool, int]]) -> None:
    pool = KvPool(21, layers=1, kv_heads=1, head_dim=2)
    held: list[Rows] = []
    for take, n in steps:
        if take and n <= pool.free:
            held.append(pool.allocate(n))
        elif not take and held:
            pool.release(held.pop(n % len(held)))
        rows = [int(r) for some in held for r in some]
        assert len(set(rows)) == len(rows) == 20 - pool.free
        assert all(0 < row <= 20 for row in rows)  # row 0 stands for what masks hide


def test_more_rows_than_are_free() -> None:
    pool = KvPool(4, layers=1, kv_heads=1, head_dim=2)
    pool.allocate(2)
    with pytest.raises(RuntimeError, match="2 rows asked for, 1 free"):
        pool.allocate(2)
    assert pool.free == 1


def test_keys_and_values_lie_by_token_and_head() -> None:
    pool = KvPool(6, layers=2, kv_heads=2, head_dim=3)
    rows = pool.allocate(2)
    keys = np.arange(12, dtype=np.float32).reshape(2, 6)
    pool.write(rows, 1, keys, -keys)
    for token, row in enumerate(rows):
        for head in range(2):
            expected = keys[token, head * 3 : head * 3 + 3]
            np.testing.assert_array_equal(pool.keys(1)[row * 2 + head], expected)
            np.testing.assert_array_equal(pool.values(1)[row * 2 + head], -expected)
    assert pool.keys(0).shape == (12, 3)


def test_what_masks_hide_is_finite() -> None:
    pool = KvPool(3, layers=2, kv_heads=2, head_dim=3)
    for layer in range(2):
        assert (pool.keys(layer)[:2] == 0).all()
        assert (pool.values(layer)[:2] == 0).all()


def test_what_is_handed_out_is_the_pool_itself() -> None:
    """The graph reads the past where it lies; a copy a run would cost more than the run."""
    pool = KvPool(3, layers=1, kv_heads=2, head_dim=3)
    assert np.shares_memory(pool.keys(0), pool.keys(0))
    rows = pool.allocate(1)
    before = pool.keys(0)
    pool.write(rows, 0, np.ones((1, 6), np.float32), np.ones((1, 6), np.float32))
    assert (before[rows[0] * 2] == 1).all()
