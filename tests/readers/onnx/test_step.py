"""Step: index arrays that gather packed tokens, against attention written out token by token."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from monitor.readers.onnx import step
from monitor.readers.onnx.step import Heads, Step

DIM = 3
SEQUENCES = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 7)), min_size=1, max_size=4)


def softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    result: NDArray[np.float64] = shares / shares.sum(axis=-1, keepdims=True)
    return result


@settings(deadline=None, max_examples=60)
@given(SEQUENCES, st.sampled_from([(1, 1), (2, 2), (4, 2), (6, 3)]), st.sampled_from([None, 1, 2, 5]))
def test_attention_over_the_gathered_rows(
    sequences: list[tuple[int, int]], heads: tuple[int, int], window: int | None
) -> None:
    query, kv = heads
    group = query // kv
    source = np.random.default_rng(0)
    counts, behind = [c for c, _ in sequences], [b for _, b in sequences]
    new_tokens = sum(counts)
    pool_k, pool_v = source.standard_normal((2, 64, kv, DIM))
    pool_k[0] = pool_v[0] = 0
    queries = source.standard_normal((new_tokens, query + kv, DIM))  # queries and keys side by side
    values = source.standard_normal((new_tokens, kv, DIM))
    pasts = np.split(1 + source.permutation(63)[: sum(behind)], np.cumsum(behind)[:-1])

    # as the graph does it
    inputs = Step(counts, pasts).inputs(Heads(query, kv, () if window is None else (window,)))
    mask = inputs[step.MASK if window is None else step.window_mask(window)]
    q = queries.reshape(-1, DIM)[inputs[step.QUERY_ROWS]]
    k, v = (
        np.concatenate([pool.reshape(-1, DIM)[inputs[step.PAST_ROWS]], own.reshape(-1, DIM)[inputs[step.NEW_ROWS]]], 2)
        for pool, own in ((pool_k, queries[:, query:]), (pool_v, values))
    )
    scores = (q @ k.swapaxes(-1, -2)).reshape(inputs[step.SCORES_SHAPE]) + mask
    mixed = softmax(scores).reshape(inputs[step.CONTEXT_SHAPE]) @ v
    found = mixed.reshape(-1, DIM)[inputs[step.OUTPUT_ROWS]]  # [token, head, dim]

    # one token and head at a time
    at = 0
    for count, past in zip(counts, pasts, strict=True):
        for n in range(count):
            assert inputs[step.POSITIONS][0, at + n] == past.size + n
            for head in range(query):
                keys = [*pool_k[past, head // group], *queries[at : at + n + 1, query + head // group]]
                read = [*pool_v[past, head // group], *values[at : at + n + 1, head // group]]
                start = 0 if window is None else max(0, len(keys) - window)
                shares = softmax(np.array(keys[start:]) @ queries[at + n, head])
                np.testing.assert_allclose(found[at + n, head], shares @ np.array(read[start:]), atol=1e-12)
        at += count


@pytest.mark.parametrize("windows", [(), (4,), (4, 9)])
def test_there_is_a_mask_for_everything_and_for_each_window(windows: tuple[int, ...]) -> None:
    inputs = Step([2, 3], [np.arange(5), np.zeros(0, np.int64)]).inputs(Heads(4, 2, windows))
    masks = {name for name in inputs if name.startswith(step.MASK)}
    assert masks == {step.MASK, *(step.window_mask(w) for w in windows)}
    for name in masks:
        assert inputs[name].shape == (2, 1, 1, 3, 8)
        assert inputs[name].dtype == np.float32
        assert np.isfinite(inputs[name]).all()  # minus infinity would make NaN of a row that is all padding
