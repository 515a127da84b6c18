"""PrefixCache: keys, values and activations of the prefixes of sequences, in blocks of tokens; an LRU cache."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.readers.onnx.kv_pool import KvPool, Rows
from monitor.readers.onnx.sparse import SparseActivations

BLOCK_TOKENS = 32


def block_keys(root: bytes, tokens: NDArray[np.int32]) -> list[bytes]:
    """A key for each full block of `tokens` [token]; it identifies the block and everything before it.

    `root` identifies what comes before the tokens.
    """
    keys: list[bytes] = []
    key = root
    data = np.ascontiguousarray(tokens, dtype=np.int32)
    for start in range(0, tokens.size - tokens.size % BLOCK_TOKENS, BLOCK_TOKENS):
        key = hashlib.blake2b(data[start : start + BLOCK_TOKENS].tobytes(), key=key, digest_size=16).digest()
        keys.append(key)
    return keys


@dataclass
class CachedBlock:
    """Tokens that were read: rows in the pool, and activations. `users` counts the sequences that use them now."""

    rows: Rows
    activations: SparseActivations
    users: int = 0


class PrefixCache:
    """Blocks by key. A block that no sequence uses can be dropped at any time."""

    def __init__(self, pool: KvPool, max_bytes: int, token_bytes: int) -> None:
        """All blocks together take at most `max_bytes`: keys and values, `token_bytes` a token, and activations."""
        self._pool = pool
        self._max_bytes = max_bytes
        self._token_bytes = token_bytes
        self._bytes = 0
        self._blocks: OrderedDict[bytes, CachedBlock] = OrderedDict()
        self.hits = 0
        """Tokens that did not have to be read again."""

    def __len__(self) -> int:
        return len(self._blocks)

    def __contains__(self, key: bytes) -> bool:
        return key in self._blocks

    def use(self, keys: Sequence[bytes]) -> list[CachedBlock]:
        """The blocks of `keys` up to the first that is missing. They stay in the cache until `release`."""
        found = []
        for key in keys:
            block = self._blocks.get(key)
            if block is None:
                break
            block.users += 1
            found.append(block)
        return found

    def release(self, keys: Sequence[bytes]) -> None:
        """Ends the use of blocks, given in token order. Of these blocks, the first is dropped last."""
        for key in reversed(keys):
            self._blocks[key].users -= 1
            self._blocks.move_to_end(key)

    def keep(self, key: bytes, rows: Rows, activations: SparseActivations) -> bool:
        """Adds a block, in use by the caller.

        Returns False if the key is known or there is no room; the rows then stay the caller's.
        """
        block = CachedBlock(rows, activations, users=1)
        if key in self._blocks or self._size(block) > self._max_bytes:
            return False
        while self._bytes + self._size(block) > self._max_bytes:
            if not self._drop_one():
                return False
        self._blocks[key] = block
        self._bytes += self._size(block)
        return True

    def make_room(self, rows: int) -> bool:
        """Drops blocks until the pool has `rows` free rows. Returns False if that is impossible."""
        while self._pool.free < rows:
            if not self._drop_one():
                return False
        return True

    def clear(self) -> None:
        """Drops every block that no sequence uses."""
        while self._drop_one():
            pass

    def _drop_one(self) -> bool:
        victim = next((key for key, block in self._blocks.items() if block.users == 0), None)
        if victim is None:
            return False
        block = self._blocks.pop(victim)
        self._bytes -= self._size(block)
        self._pool.release(block.rows)
        return True

    def _size(self, block: CachedBlock) -> int:
        return block.rows.size * self._token_bytes + block.activations.nbytes
