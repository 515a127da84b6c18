"""Batches keep to the budget, padding included."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.readers.batches import token_budgeted


@pytest.mark.parametrize(
    ("lengths", "budget", "expected"),
    [
        ([], 10, []),
        ([5], 10, [[0]]),
        ([5, 5], 10, [[0, 1]]),
        ([5, 5], 9, [[0], [1]]),
        ([3, 9, 3], 9, [[0, 2], [1]]),  # neighbours in length share a batch
        ([2, 5, 2], 10, [[0, 2], [1]]),  # three of five, padded, would be 15
        ([99, 1], 10, [[1], [0]]),  # over the budget: alone
        ([4, 4, 4, 4], 8, [[0, 1], [2, 3]]),
    ],
)
def test_worked_examples(lengths: list[int], budget: int, expected: list[list[int]]) -> None:
    assert token_budgeted(lengths, budget) == expected


@given(st.lists(st.integers(1, 100)), st.integers(1, 200))
def test_each_once_in_ascending_length_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = token_budgeted(lengths, budget)
    flat = [position for batch in batches for position in batch]
    assert sorted(flat) == list(range(len(lengths)))
    assert [lengths[p] for p in flat] == sorted(lengths)
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[p] for p in batch) <= budget
    for first, second in pairwise(batches):  # no batch ends early
        assert (len(first) + 1) * lengths[second[0]] > budget
