"""WindowReader: every token is read exactly once, after the right context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from monitor.readers.reader import Chunk
from monitor.readers.windows import ReadWindow, WindowReader

Tokens = NDArray[np.int32]


@dataclass(frozen=True)
class Prefilled:
    tokens: tuple[int, ...]

    @property
    def length(self) -> int:
        return len(self.tokens)


class TinyReader:
    """Its activations are the tokens themselves."""

    def __init__(self, max_tokens: int | None = None) -> None:
        self.max_tokens = max_tokens
        self.prefilled: list[tuple[int, ...]] = []

    def read(self, chunks: Sequence[Chunk]) -> list[NDArray[np.float32]]:
        return [chunk.tokens[:, None].astype(np.float32) for chunk in chunks]

    def prefill(self, tokens: Tokens) -> Prefilled:
        self.prefilled.append(tuple(tokens.tolist()))
        return Prefilled(self.prefilled[-1])


def planner(reader: TinyReader, window_tokens: int, overlap_tokens: int, *prefixes: Tokens) -> WindowReader:
    return WindowReader(reader, prefixes, window_tokens=window_tokens, overlap_tokens=overlap_tokens)


def ids(*tokens: int) -> Tokens:
    return np.array(tokens, np.int32)


def seen(window: ReadWindow) -> tuple[list[int], list[int]]:
    """What a window reads: its past, and its own tokens."""
    past = window.chunk.past
    assert past is None or isinstance(past, Prefilled)
    return list(past.tokens) if past else [], window.chunk.tokens.tolist()


def test_a_short_conversation_is_one_window() -> None:
    (window,) = planner(TinyReader(), 8, 2).plan(np.arange(8, dtype=np.int32))
    assert (seen(window), window.start, window.new) == (([], list(range(8))), 0, 8)


def test_a_longer_one_is_read_in_several_with_overlap() -> None:
    windows = planner(TinyReader(), 8, 3).plan(np.arange(15, dtype=np.int32))
    assert [(seen(w)[1], w.start, w.new) for w in windows] == [
        (list(range(8)), 0, 8),
        (list(range(5, 13)), 8, 5),
        (list(range(10, 15)), 13, 2),
    ]


def test_the_longest_shared_prefix_is_read_once() -> None:
    reader = TinyReader()
    windows = planner(reader, 16, 4, ids(1), ids(1, 2, 3))
    assert sorted(reader.prefilled) == [(1,), (1, 2, 3)]
    assert [(seen(w), w.start, w.new) for w in windows.plan(ids(1, 2, 3, 4, 5))] == [(([1, 2, 3], [4, 5]), 3, 2)]
    assert [(seen(w), w.start, w.new) for w in windows.plan(ids(1, 2, 9))] == [(([1], [2, 9]), 1, 2)]
    assert [(seen(w), w.start, w.new) for w in windows.plan(ids(9, 1))] == [(([], [9, 1]), 0, 2)]
    assert len(reader.prefilled) == 2


def test_nothing_is_left_to_read_after_a_prefix_or_of_no_tokens() -> None:
    windows = planner(TinyReader(), 16, 4, ids(1, 2))
    assert windows.plan(ids(1, 2)) == []
    assert windows.plan(ids()) == []
    assert seen(windows.plan(ids(1))[0]) == ([], [1])


def test_every_window_of_a_long_conversation_begins_with_the_prefix() -> None:
    windows = planner(TinyReader(), 8, 2, ids(0, 1)).plan(np.arange(13, dtype=np.int32))
    assert [(seen(w), w.start, w.new) for w in windows] == [
        (([0, 1], [2, 3, 4, 5, 6, 7]), 2, 6),
        (([0, 1], [6, 7, 8, 9, 10, 11]), 8, 4),
        (([0, 1], [10, 11, 12]), 12, 1),
    ]


def test_a_prefix_over_a_quarter_of_the_window_is_not_kept() -> None:
    reader = TinyReader()
    planner(reader, 8, 2, ids(), ids(1, 2), ids(1, 2, 3))
    assert reader.prefilled == [(1, 2)]


@pytest.mark.parametrize("max_tokens", [1, 2, 5, 8, 100, None])
def test_no_window_is_longer_than_the_model_takes(max_tokens: int | None) -> None:
    windows = planner(TinyReader(max_tokens), 32, 16, ids(0)).plan(np.arange(100, dtype=np.int32))
    longest = max(len(past) + len(own) for past, own in map(seen, windows))
    assert longest == min(32, max_tokens or 32)


@given(
    length=st.integers(0, 200),
    start=st.integers(0, 6),
    window=st.integers(1, 40),
    overlap=st.integers(0, 60),
    max_tokens=st.none() | st.integers(1, 50),
)
def test_every_token_is_read_exactly_once(
    length: int, start: int, window: int, overlap: int, max_tokens: int | None
) -> None:
    tokens = np.arange(length, dtype=np.int32)
    reader = TinyReader(max_tokens)
    windows = planner(reader, window, overlap, tokens[:start]).plan(tokens)
    at = len(reader.prefilled[0]) if reader.prefilled else 0
    size = min(window, max_tokens or window)
    for number, planned in enumerate(windows):
        past, own = seen(planned)
        context = len(own) - planned.new
        assert planned.start == at
        assert planned.new > 0
        assert own[context:] == list(range(at, at + planned.new))
        assert own[:context] == list(range(at - context, at))
        assert context == (min(overlap, size // 2) if number else 0)
        assert past == list(range(len(past)))
        assert len(past) + len(own) <= size
        at += planned.new
    assert at == length


def test_activations_are_in_the_order_of_the_tokens_and_those_of_a_prefix_are_0() -> None:
    parts: list[None] = []
    texts = [ids(1, 2, *range(3, 30)), ids(1, 2), ids(7, 8)]
    found = list(
        planner(TinyReader(), 8, 2, ids(1, 2)).read(texts, 1, part_tokens=8, on_part=lambda: parts.append(None))
    )
    assert [values[:, 0].tolist() for values, _ in found] == [[0, 0, *range(3, 30)], [0, 0], [7, 8]]
    assert [windows for _, windows in found] == [7, 0, 1]
    assert len(parts) == 7  # the last window of the long text and the short text are one part
