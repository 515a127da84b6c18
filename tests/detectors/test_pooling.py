"""Pooling against numbers worked by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from detectors.pooling import Pooling, pool, pool_windows

VALUES = np.array([[1, 0], [5, 2], [3, 8], [0, 2]], dtype=np.float32)  # [token, feature]


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ({"kind": "max"}, [5, 8]),
        ({"kind": "mean"}, [2.25, 3]),
        ({"kind": "topk_mean", "k": 1}, [5, 8]),
        ({"kind": "topk_mean", "k": 2}, [4, 5]),
        ({"kind": "topk_mean", "k": 4}, [2.25, 3]),
        ({"kind": "topk_mean", "k": 100}, [2.25, 3]),  # fewer tokens than k: the mean over all
        ({"kind": "count", "above": 0.0}, [3, 3]),
        ({"kind": "count", "above": 2.0}, [2, 1]),  # above, not from
        ({"kind": "count", "above": 8.0}, [0, 0]),
        ({"kind": "count", "above": -1.0}, [4, 4]),
    ],
)
def test_worked_examples(pooling: dict[str, Any], expected: list[float]) -> None:
    pooled = pool(VALUES, Pooling.model_validate(pooling))
    assert pooled.tolist() == expected
    assert pooled.dtype == np.float32


POOLINGS = [
    Pooling(kind="max"),
    Pooling(kind="mean"),
    Pooling(kind="topk_mean", k=3),
    Pooling(kind="count", above=1.0),
]


@pytest.mark.parametrize("pooling", POOLINGS, ids=lambda p: p.kind)
def test_one_token_is_enough_and_none_is_refused(pooling: Pooling) -> None:
    assert pool(VALUES[1:2], pooling).tolist() == ([1, 1] if pooling.kind == "count" else [5, 2])
    with pytest.raises(ValueError, match="without tokens"):
        pool(VALUES[:0], pooling)


@given(
    arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=20), elements=st.floats(0, 1000, width=32)),
    st.integers(1, 30),
    st.randoms(use_true_random=False),
)
def test_order_of_tokens_does_not_matter_and_k_lies_between_mean_and_max(values: Any, k: int, random: Any) -> None:
    top_k = pool(values, Pooling(kind="topk_mean", k=k))
    rows = list(range(len(values)))
    random.shuffle(rows)
    np.testing.assert_allclose(pool(values[rows], Pooling(kind="topk_mean", k=k)), top_k, rtol=1e-5)
    assert (top_k <= pool(values, Pooling(kind="max")) * (1 + 1e-5)).all()
    assert (top_k >= pool(values, Pooling(kind="mean")) * (1 - 1e-5)).all()


@pytest.mark.parametrize(
    ("tokens", "windows"),
    [
        (1, [(0, 1)]),
        (4, [(0, 4)]),
        (5, [(0, 4), (2, 5)]),
        (6, [(0, 4), (2, 6)]),
        (7, [(0, 4), (2, 6), (4, 7)]),
    ],
)
def test_windows_overlap_by_half_and_none_is_short(tokens: int, windows: list[tuple[int, int]]) -> None:
    assert Pooling(kind="mean", window_tokens=4).windows(tokens) == windows
    assert Pooling(kind="mean").windows(tokens) == [(0, tokens)]


@given(
    arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=20), elements=st.floats(0, 1000, width=32)),
    st.sampled_from([2, 4, 10]),
    st.integers(0, 16),
)
def test_each_window_is_pooled_as_a_segment_of_its_own(values: Any, size: int, prior: int) -> None:
    pooling = Pooling(kind="mean", prior_tokens=prior, window_tokens=size)
    found = pool_windows(values, pooling)
    expected = [pool(values[start:stop], pooling) for start, stop in pooling.windows(len(values))]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found.dtype == np.float32


@pytest.mark.parametrize("pooling", POOLINGS, ids=lambda p: p.kind)
def test_without_windows_the_segment_is_one(pooling: Pooling) -> None:
    assert pool_windows(VALUES, pooling).tolist() == [pool(VALUES, pooling).tolist()]
