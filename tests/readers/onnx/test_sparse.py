"""SparseActivations: activations of the graph's columns, or of a TopK SAE's latents, as what detectors look at."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from monitor.readers.onnx.sparse import SparseActivations, slice_tokens, to_dense


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), max_size=4), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_slots_land_in_their_columns(sizes: list[int], features: int, seed: int) -> None:
    """The column behind the last one stands for all latents that no set looks at."""
    source = np.random.default_rng(seed)
    parts, expected = [], []
    for size in sizes:
        # two latents that nobody looks at share a column, all others have their own
        columns = np.array([source.permutation(features + 2)[:2] for _ in range(size)], np.int64)
        columns = columns.reshape(size, 2)
        columns = np.minimum(columns, features)
        values = source.random((size, 2)).astype(np.float32)
        parts.append(SparseActivations(values, columns))
        rows = np.zeros((size, features), np.float32)
        for token, slot in np.ndindex(size, 2):
            if columns[token, slot] < features:
                rows[token, columns[token, slot]] = values[token, slot]
        expected.append(rows)
    found = to_dense(parts, features)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.concatenate([np.zeros((0, features), np.float32), *expected]))


def test_without_columns_the_parts_are_joined() -> None:
    parts = [SparseActivations(np.full((n, 3), n, np.float32)) for n in (2, 0, 1)]
    assert to_dense(parts, 3).tolist() == [[2, 2, 2], [2, 2, 2], [1, 1, 1]]
    assert to_dense([], 3).shape == (0, 3)


def test_what_is_kept_keeps_nothing_else_alive() -> None:
    whole = SparseActivations(np.arange(12, dtype=np.float32).reshape(4, 3), np.arange(12).reshape(4, 3))
    part = slice_tokens([whole], 1, 3, 12)
    assert part.values.tolist() == [[3, 4, 5], [6, 7, 8]]
    assert part.columns is not None
    assert part.columns.tolist() == [[3, 4, 5], [6, 7, 8]]
    assert part.values.base is None
    assert part.columns.base is None
    full = SparseActivations(whole.values[2:]).to_sparse(3)
    assert (full.columns, full.values.base, full.nbytes) == (None, None, 24)


@given(st.integers(0, 6), st.integers(1, 40), st.floats(0, 1), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_zeros_are_not_kept(tokens: int, features: int, density: float, seed: int) -> None:
    source = np.random.default_rng(seed)
    values = source.standard_normal((tokens, features)) * (source.random((tokens, features)) < density)
    whole = SparseActivations(values.astype(np.float32))
    kept = whole.to_sparse(features)
    assert kept.nbytes <= whole.nbytes
    if density < 0.1 and features == 40:
        assert kept.columns is not None
    np.testing.assert_array_equal(to_dense([whole, kept], features), np.concatenate([whole.values, whole.values]))


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=5), st.integers(0, 20), st.integers(0, 20))
def test_cut_through_parts_of_both_kinds(sizes: list[tuple[int, bool]], one: int, other: int) -> None:
    features, source = 9, np.random.default_rng(len(sizes))
    parts = []
    for size, sparse in sizes:
        values = source.random((size, features)) * (source.random((size, features)) < 0.3)
        whole = SparseActivations(values.astype(np.float32))
        parts.append(whole.to_sparse(features) if sparse else whole)
    values = to_dense(parts, features)
    start, end = sorted((min(one, len(values)), min(other, len(values))))
    assume(start < end)
    found = slice_tokens(parts, start, end, features)
    np.testing.assert_array_equal(to_dense([found], features), values[start:end])
    assert found.nbytes <= values[start:end].nbytes
