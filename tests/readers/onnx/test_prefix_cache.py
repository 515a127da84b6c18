"""PrefixCache: blocks by what stands in them and before them; the least recently used goes first."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.readers.onnx.kv_pool import KvPool
from monitor.readers.onnx.prefix_cache import BLOCK_TOKENS, PrefixCache, block_keys
from monitor.readers.onnx.sparse import SparseActivations

ROWS = 4  # of a block in these tests
TOKEN_BYTES = 8  # of its keys and values
BLOCK_BYTES = ROWS * (TOKEN_BYTES + 4)  # with one activation a token


def tokens(*numbers: int) -> np.ndarray:
    return np.repeat(np.array(numbers, np.int32), BLOCK_TOKENS)


@given(st.lists(st.integers(0, 2), max_size=5), st.lists(st.integers(0, 2), max_size=5), st.booleans())
@settings(deadline=None)
def test_keys_are_equal_up_to_the_first_block_that_differs(one: list[int], other: list[int], same_root: bool) -> None:
    first = block_keys(b"root", tokens(*one))
    second = block_keys(b"root" if same_root else b"", tokens(*other))
    shared = 0
    while same_root and shared < min(len(one), len(other)) and one[shared] == other[shared]:
        shared += 1
    assert first[:shared] == second[:shared]
    assert not set(first[shared:]) & set(second[shared:])
    assert len(first) == len(one)


def test_only_full_blocks_have_a_key() -> None:
    for size, blocks in ((0, 0), (BLOCK_TOKENS - 1, 0), (BLOCK_TOKENS, 1), (2 * BLOCK_TOKENS + 5, 2)):
        assert len(block_keys(b"", np.zeros(size, np.int32))) == blocks


def test_keys_do_not_depend_on_how_the_tokens_lie_in_memory() -> None:
    wide = np.arange(4 * BLOCK_TOKENS, dtype=np.int64)
    assert block_keys(b"", wide[::2].astype(np.int32)) == block_keys(b"", wide.astype(np.int32)[::2])


class Holder:
    """A cache over a small pool, filled with blocks that are named by a letter."""

    def __init__(self, rows: int, max_blocks: int) -> None:
        self.pool = KvPool(1 + rows, layers=1, kv_heads=1, head_dim=1)
        self.cache = PrefixCache(self.pool, max_blocks * BLOCK_BYTES, TOKEN_BYTES)

    def keep(self, name: bytes, release: bool = True, features: int = 1) -> bool:
        rows = self.pool.allocate(ROWS)
        kept = self.cache.keep(name, rows, SparseActivations(np.zeros((ROWS, features), np.float32)))
        if not kept:
            self.pool.release(rows)
        elif release:
            self.cache.release([name])
        return kept

    @property
    def names(self) -> set[bytes]:
        return {name for name in (b"a", b"b", b"c", b"d") if name in self.cache}


def test_the_least_recently_used_goes_first() -> None:
    holder = Holder(16, max_blocks=2)
    assert holder.keep(b"a")
    assert holder.keep(b"b")
    assert len(holder.cache.use([b"a"])) == 1
    holder.cache.release([b"a"])
    assert holder.keep(b"c")
    assert holder.names == {b"a", b"c"}
    assert holder.pool.free == 16 - 2 * ROWS


def test_of_one_sequence_the_last_block_goes_first() -> None:
    """Without the first, those behind it could not be found."""
    holder = Holder(16, max_blocks=3)
    for name in (b"a", b"b", b"c"):
        holder.keep(name, release=False)
    holder.cache.release([b"a", b"b", b"c"])
    holder.keep(b"d")
    assert holder.names == {b"a", b"b", b"d"}


def test_what_is_in_use_stays() -> None:
    holder = Holder(16, max_blocks=1)
    assert holder.keep(b"a", release=False)
    assert not holder.keep(b"b")
    assert holder.names == {b"a"}
    assert not holder.cache.make_room(16)
    holder.cache.release([b"a"])
    assert holder.cache.make_room(16)
    assert holder.names == set()
    assert holder.pool.free == 16


def test_used_twice_is_released_twice() -> None:
    holder = Holder(8, max_blocks=2)
    holder.keep(b"a")
    holder.cache.use([b"a"])
    holder.cache.use([b"a"])
    holder.cache.release([b"a"])
    assert not holder.cache.make_room(8)
    holder.cache.release([b"a"])
    assert holder.cache.make_room(8)


def test_room_is_made_no_further_than_needed() -> None:
    holder = Holder(12, max_blocks=3)
    for name in (b"a", b"b", b"c"):
        holder.keep(name)
    assert holder.cache.make_room(5)
    assert holder.names == {b"c"}
    assert len(holder.cache) == 1


def test_activations_take_their_share_of_the_bytes() -> None:
    holder = Holder(16, max_blocks=3)
    assert holder.keep(b"a")
    assert holder.keep(b"b")
    assert holder.keep(b"c", features=2), "more bytes than are left: a, the oldest, goes"
    assert holder.names == {b"b", b"c"}
    assert not holder.keep(b"d", features=8), "alone more than all there is"
    assert holder.names == {b"b", b"c"}, "and nothing goes for it"
    assert holder.pool.free == 16 - 2 * ROWS


def test_a_block_is_kept_once() -> None:
    holder = Holder(12, max_blocks=3)
    assert holder.keep(b"a")
    assert not holder.keep(b"a")
    assert holder.pool.free == 8


def test_blocks_are_used_up_to_the_first_that_is_not_there() -> None:
    holder = Holder(16, max_blocks=4)
    for name in (b"a", b"b", b"d"):
        holder.keep(name)
    assert len(holder.cache.use([b"a", b"b", b"c", b"d"])) == 2
    assert holder.cache.use([b"", b"a"]) == []
    holder.cache.make_room(16)
    assert holder.names == {b"a", b"b"}  # d was never held
